"""Office-Home: one set of classes in four domains, each with images of its own.

``python -m experiments.main --experiment=office_home --data_dir=DIR``, where DIR holds
``office_home`` as :func:`mtopt.data.office_home` reads it. The protocol, and what
differs from the published one, are those of the experiment ``office_31``.
"""

import dataclasses

from ..common.config import Config
from . import office_31


def get_config() -> Config:
    """ResNet-18, by the methods of tables on Office-Home."""
    epoch = 42  # of the 2,663 images of Product
    return dataclasses.replace(
        office_31.get_config(),
        data="augmented(office_home(folder='office_home'), by='normalise')",
        steps=100 * epoch,
        eval_every=epoch,
        log_every=epoch,
        checkpoint_every=10 * epoch,
    )
