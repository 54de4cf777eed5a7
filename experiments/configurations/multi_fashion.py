"""Multi-Fashion: two overlapping Fashion-MNIST articles, tasks left and right.

``python -m experiments.main --experiment=multi_fashion --data_dir=DIR``, where DIR (or
a subfolder ``fashion_mnist`` of it) holds the four idx files of Fashion-MNIST.
"""

import dataclasses

from ..common.config import Config
from . import multi_mnist


def get_config() -> Config:
    """The configuration of Multi-MNIST on other pictures."""
    config = multi_mnist.get_config()
    return dataclasses.replace(config, data=config.data.replace("mnist", "fashion"))
