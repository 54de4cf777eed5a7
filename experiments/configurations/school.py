"""School: the exam scores of 15,362 pupils, one regression task per school (139).

``python -m experiments.main --experiment=school --data_dir=DIR``, where DIR holds
``school/data.npz`` in the format of :func:`mtopt.data.npz`.

Scores of all schools are in one unit, points, in which errors are pooled. Pupils of a
school with equal features stand in one part: a division pupil by pupil has the features
of 84 % of the test pupils in training, and a lower error.
"""

import dataclasses

from ..common.config import Config, Optimizer
from . import npz


def get_config() -> Config:
    """A small MLP; every step sees 16 pupils of every school."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='school/data.npz', kind='regression', common_units=True)",
        model="mlp(hidden=(64, 32))",
        batch_size=16,
        steps=1000,
        eval_every=50,
        optimizer=Optimizer("adamw(weight_decay=1e-2)", 1e-3, "cosine_decay"),
    )
