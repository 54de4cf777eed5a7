r"""Rep-MTL on FDU-MTL reviews: 16 domains, praise or blame, from word counts.

``python -m experiments.main --experiment=rep_mtl_reviews --data_dir=DIR``, where DIR
holds ``fdu_mtl_reviews/data.npz`` in the format of :func:`mtopt.data.npz`: an MLP on
the 2,000 commonest words, ten seeds, some nine minutes on two cores. On a GPU, all
10,000 words (640 MB there) for 100 epochs::

  --config.data="npz(path='fdu_mtl_reviews/data.npz', max_features=10000, \
    on_device_bytes=1000000000)"
  --config.model="mlp(hidden=(512, 128), dropout=0.5)"
  --config.steps=4300 --config.eval_every=86

The methods, and the scale of their penalties, are those of ``rep_mtl_multi_mnist``;
pairs of samples are as in ``rep_mtl_cifar100``.

=================================== ==============================
reference                           accuracy over all test samples
=================================== ==============================
logistic regression, all domains    0.847
logistic regression, each domain    0.809
equal weighting here                0.847 (three seeds)
=================================== ==============================

The paper (Wang et al., 2025, arXiv 2507.21049) has no text. Here nothing is gained:
``docs/results/rep_mtl.md`` has the ten seeds.
"""

import dataclasses

from ..common.config import Config, Optimizer
from . import npz
from .rep_mtl_multi_mnist import METHODS


def get_config() -> Config:
    """An MLP with dropout; every step sees 32 reviews of every domain."""
    return dataclasses.replace(
        npz.get_config(),
        data="npz(path='fdu_mtl_reviews/data.npz')",
        model="mlp(hidden=(128,), dropout=0.5)",
        methods=METHODS,
        single_task=False,
        paired=2,
        optimizer=Optimizer("adamw(weight_decay=1e-2)", 3e-3, "cosine_decay"),
        seeds=tuple(range(10)),
        batch_size=32,
        steps=200,
        eval_every=50,
        log_every=20,
        checkpoint_every=200,
    )
