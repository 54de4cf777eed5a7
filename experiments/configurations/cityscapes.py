"""Cityscapes: classes and inverse depth of the pixels of streets, from MTAN's files.

``python -m experiments.main --experiment=cityscapes --data_dir=DIR``, where DIR holds
``cityscapes/train`` and ``cityscapes/val`` as :func:`mtopt.data.cityscapes` reads them.
It takes a GPU: ``--estimate`` says how long.

The protocol is that of the experiment ``nyuv2``, which see for what differs from the
published one, with batches of 8 and seven classes, as in the released code of Liu et
al. (FAMO: Fast Adaptive Multitask Optimization, 2023, arXiv 2306.03792).
"""

import dataclasses

from ..common.config import Config
from . import nyuv2


def get_config() -> Config:
    """MTAN on SegNet, by the methods of the published table."""
    config = nyuv2.get_config()
    epoch = 335  # of 2,677 images
    halved = f"piecewise_constant(boundaries_and_scales={{{100 * epoch}: 0.5}})"
    return dataclasses.replace(
        config,
        data="augmented(cityscapes(folder='cityscapes'), by='scale_crop + flip')",
        optimizer=dataclasses.replace(config.optimizer, schedule=halved),
        steps=200 * epoch,
        batch_size=8,
        eval_every=epoch,
        checkpoint_every=10 * epoch,
    )
