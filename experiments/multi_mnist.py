"""Multi-MNIST: two overlapping digits on a 36x36 canvas, tasks left and right.

``python -m experiments.main --experiment=multi_mnist --data_dir=DIR``, where DIR (or a
subfolder ``mnist`` of it) holds the four idx files. The protocol of Pareto MTL (Lin et
al., 2019, arXiv 1912.12854) at the budget of two cores: LeNet, batches of 256, Adam at
1e-3, 20,000 training pairs instead of 120,000. For all of them at 200 epochs, on an
accelerator::

  --config.data="multi_mnist()" --config.steps=93750 --config.model="resnet18()"
"""

from experiments.config import Config, Optimizer
from experiments.runner import prepare as prepare


def get_config() -> Config:
    """LeNet on 20,000 pairs: equal weighting and MGDA, one seed after the other."""
    return Config(
        data="multi_mnist(num_valid=2000)",
        model="lenet",
        methods=("equal_weighting", "mgda"),
        optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
        seeds=(0,),
        steps=2000,
        batch_size=256,
        eval_every=200,
        log_every=25,
        checkpoint_every=500,
        stack_seeds=False,
    )
