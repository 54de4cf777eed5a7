"""Multi-Fashion+MNIST: a digit on the left, an article of clothing on the right.

``python -m experiments.main --experiment=multi_fashion_mnist --data_dir=DIR``, where
the subfolders ``mnist`` and ``fashion_mnist`` of DIR hold the idx files.
"""

import dataclasses

from ..common.config import Config
from . import multi_mnist


def get_config() -> Config:
    """The configuration of Multi-MNIST on other pictures."""
    config = multi_mnist.get_config()
    return dataclasses.replace(
        config, data=config.data.replace("mnist", "fashion_mnist")
    )
