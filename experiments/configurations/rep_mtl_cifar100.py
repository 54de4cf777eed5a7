r"""Rep-MTL on CIFAR-100 as 20 tasks, each with images and five classes of its own.

``python -m experiments.main --experiment=rep_mtl_cifar100 --data_dir=DIR``, where DIR
holds ``cifar100/cifar100_sub.npz`` as :func:`mtopt.data.cifar100` reads it: a narrow
ResNet-18, five epochs of 20 x 16 images a step, ten seeds, half an hour on one
core. On a GPU, 200 epochs of 9,000 images::

  --config.model=resnet18 --config.steps=5600 --config.eval_every=140
  --config.optimizer.name="adamw(weight_decay=1e-5)"
  --config.optimizer.learning_rate=1e-4

The methods, and the scale of their penalties, are those of ``rep_mtl_multi_mnist``. The
tasks share no image: samples are paired by their place in the batch, as the equations
would have it, where the paper is silent.

=================== ======== ======== =========== =================
gain, %             EW       DB-MTL   both        data set
=================== ======== ======== =========== =================
published           -0.61    +1.05    +1.31       Office-31
published           -0.92    +0.17    +0.41       Office-Home
=================== ======== ======== =========== =================

These are the paper's sets of disjoint images (pretrained networks, Wang et al., 2025,
arXiv 2507.21049). Ours is accuracy on CIFAR-100, of which it has no number; what it
measures is in ``docs/results/rep_mtl.md``.
"""

import dataclasses

from ..common.config import Config
from . import multi_mnist
from .rep_mtl_multi_mnist import METHODS


def get_config() -> Config:
    """A ResNet-18 of width 4 with the ImageNet stem, which two cores can train."""
    config = multi_mnist.get_config()
    return dataclasses.replace(
        config,
        data="cifar100(path='cifar100/cifar100_sub.npz')",
        model="resnet18(stem='imagenet', width=4)",
        methods=METHODS,
        single_task=False,
        paired=2,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=5e-3),
        seeds=tuple(range(10)),
        steps=140,
        batch_size=16,
        eval_every=70,
        log_every=20,
        checkpoint_every=140,
    )
