"""QM8: twelve electronic properties of small molecules, regressions on shared inputs.

``python -m experiments.main --experiment=qm8 --data_dir=DIR``, where DIR holds
``qm8/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from experiments import npz
from experiments.config import Config
from experiments.runner import prepare as prepare


def get_config() -> Config:
    """An MLP on fingerprints and descriptors."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='qm8/data.npz')",
        model="mlp(hidden=(512, 256))",
    )
