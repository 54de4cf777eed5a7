"""SARCOS: the seven joint torques of a robot arm, regressions on shared inputs.

``python -m experiments.main --experiment=sarcos --data_dir=DIR``, where DIR holds
``sarcos_test/data.npz`` in the format of :func:`mtopt.data.npz`.
"""

import dataclasses

from ..common.config import Config
from . import npz


def get_config() -> Config:
    """The MLP of the npz experiment."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='sarcos_test/data.npz')",
        model="mlp(hidden=(128, 128))",
    )
