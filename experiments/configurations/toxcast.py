"""ToxCast: 617 assays on shared molecules, seven labels in ten missing.

``python -m experiments.main --experiment=toxcast --data_dir=DIR``, where DIR holds
``toxcast/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from ..common.config import Config
from . import npz


def get_config() -> Config:
    """An MLP with dropout; equal weighting alone, and one seed.

    MGDA on its 617 tasks has a peak of 2.4 GB, and 5.6 GB with three seeds stacked;
    ``--config.stack_seeds=False`` trains them one after another.
    """
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='toxcast/data.npz')",
        model="mlp(hidden=(512, 128), dropout=0.3)",
        methods=("equal_weighting",),
        single_task=False,
        seeds=(0,),
        steps=600,
        eval_every=100,
        checkpoint_every=300,
    )
