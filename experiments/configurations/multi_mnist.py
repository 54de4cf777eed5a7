"""Multi-MNIST: two overlapping digits on a 36x36 canvas, tasks left and right.

``python -m experiments.main --experiment=multi_mnist --data_dir=DIR``, where DIR (or
a subfolder ``mnist`` of it) holds the four idx files. The pairs of Pareto MTL (Lin et
al., 2019, arXiv 1912.12854) at the budget of two cores: LeNet and five epochs, about
seven minutes a method, with Adam at 2e-3 falling along a cosine. On an
accelerator, F-MTL's ResNet-18 for 200 epochs::

  --config.model="resnet18(stem='imagenet', representation=100)" --config.steps=84000
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """LeNet: equal weighting and MGDA, beside a model per task."""
    return Config(
        data="multi_mnist(num_valid=2000)",
        model="lenet",
        methods=("equal_weighting", "mgda"),
        optimizer=Optimizer(learning_rate=2e-3, schedule="cosine_decay"),
        seeds=(0,),
        steps=2000,
        batch_size=256,
        eval_every=200,
        log_every=25,
        checkpoint_every=500,
        stack_seeds=False,
    )
