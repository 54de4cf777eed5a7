"""Tox21: twelve toxicity assays on shared molecules, one label in six missing.

``python -m experiments.main --experiment=tox21 --data_dir=DIR``, where DIR holds
``tox21/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from ..common.config import Config
from . import npz


def get_config() -> Config:
    """An MLP with dropout on fingerprints and descriptors."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='tox21/data.npz')",
        model="mlp(hidden=(256, 64), dropout=0.3)",
        steps=400,
        eval_every=50,
        checkpoint_every=200,
    )
