"""Landmine: radar features of mines and clutter, one binary task per field (29).

``python -m experiments.main --experiment=landmine --data_dir=DIR``, where DIR holds
``landmine/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from ..common.config import Config, Optimizer
from . import npz


def get_config() -> Config:
    """A small MLP; every step sees 32 samples of every field."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='landmine/data.npz')",
        model="mlp(hidden=(32,))",
        batch_size=32,
        steps=500,
        eval_every=50,
        optimizer=Optimizer("adamw(weight_decay=1e-2)", 1e-2, "cosine_decay"),
    )
