"""QM8: twelve electronic properties of small molecules, regressions on shared inputs.

``python -m experiments.main --experiment=qm8 --data_dir=DIR``, where DIR holds
``qm8/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from ..common.config import Config
from . import npz


def get_config() -> Config:
    """An MLP on fingerprints and descriptors."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='qm8/data.npz')",
        model="mlp(hidden=(512, 256))",
    )
