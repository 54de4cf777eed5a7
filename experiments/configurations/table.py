"""Your own table: CSV, TSV or Parquet, by column names, as :func:`mtopt.data.table`.

``python -m experiments.main --experiment=table
--config.data="table(path='cars.csv', tasks=('Miles_per_Gallon', 'Origin'))"``. A
relative path is looked up in ``--data_dir`` where that is set. Columns of numbers are
regressions, columns of names are classes, and all are trained together; the run prints
what it understood each column to be, and keeps it as ``data.json``. Where whole numbers
may be classes or numbers it asks::

  --config.data="table(path='cars.csv', tasks=('Horsepower', 'Origin'),
  kind={'Horsepower': 'regression'}, features=('Weight_in_lbs', 'Year'))"

``task='school'`` says which task a row belongs to, ``group='patient'`` which rows stay
in one part, ``split='part'`` which part a row is in, ``weight='sampled'`` what it
weighs in training, and ``class_weights='balanced'`` lets classes weigh the same in all.
Other files are joined to it as in the experiment ``npz``. It needs pandas: ``pip
install "mtopt[tables]"``.
"""

import dataclasses

from ..common.config import Config
from . import npz


def get_config() -> Config:
    """The settings of ``npz``."""
    return dataclasses.replace(npz.get_config(), data="table")
