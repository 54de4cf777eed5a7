"""Office-31: one set of classes in three domains, each with images of its own.

``python -m experiments.main --experiment=office_31 --data_dir=DIR``, where DIR holds
``office_31`` as :func:`mtopt.data.office_31` reads it, by folders or by the list files
of LibMTL. It takes a GPU: ``--estimate`` says how long.

The protocol is that of Lin and Zhang (LibMTL: A Python Library for Deep Multi-Task
Learning, 2023, arXiv 2203.14338): ResNet-18 at 224 pixels with 512 features, Adam at
1e-4 with weight decay 1e-5, 100 epochs of 64 images of each domain. Its network starts
from the weights of ImageNet, and has dropout in front of the heads; here it starts from
none, so that published accuracies are out of reach: compare methods with each other.
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """ResNet-18, by the methods of tables on Office-31."""
    epoch = 27  # of the 1,690 images of amazon
    return Config(
        data="augmented(office_31(folder='office_31'), by='normalise')",
        model="resnet18(stem='imagenet', representation=512)",
        methods=(
            "equal_weighting",
            "uncertainty_weighting",
            "mgda",
            "pcgrad",
            "cagrad",
            "imtl_g",
            "nash_mtl",
            "db_mtl",
        ),
        optimizer=Optimizer("adamw(weight_decay=1e-5)", 1e-4),
        steps=100 * epoch,
        batch_size=64,
        eval_every=epoch,
        log_every=epoch,
        checkpoint_every=10 * epoch,
        stack_seeds=False,
    )
