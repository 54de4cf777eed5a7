"""Census-Income (KDD): income, marriage and education, three binary tasks of MMoE.

``python -m experiments.main --experiment=census_income --data_dir=DIR``, where DIR
holds ``census_income_kdd/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from ..common.config import Config
from . import npz


def get_config() -> Config:
    """The MLP of the npz experiment, in larger batches."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='census_income_kdd/data.npz')",
        batch_size=512,
    )
