"""CelebA: forty attributes of faces, a binary task each, on shared images.

``python -m experiments.main --experiment=celeb_a --data_dir=DIR``, where DIR holds
``celeb_a`` as :func:`mtopt.data.celeb_a` reads it. It takes a GPU: ``--estimate`` says
how long.

The protocol is that of Liu et al. (FAMO: Fast Adaptive Multitask Optimization, 2023,
arXiv 2306.03792): images of 64 pixels, batches of 256, Adam at 3e-4 for 15 epochs, the
model of the best mean F1 on the validation part. Their network of nine layers is no
model here: a ResNet-18 stands in its place.
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """ResNet-18 without single-task models, of which there would be forty a seed."""
    epoch = 636  # of 162,770 images
    return Config(
        data="celeb_a(folder='celeb_a')",
        model="resnet18",
        methods=(
            "equal_weighting",
            "scale_invariant",
            "uncertainty_weighting",
            "dynamic_weight_average",
            "mgda",
            "pcgrad",
            "cagrad",
            "imtl_g",
            "nash_mtl",
            "fairgrad",
            "famo",
        ),
        optimizer=Optimizer(learning_rate=3e-4),
        steps=15 * epoch,
        batch_size=256,
        eval_every=epoch,
        log_every=50,
        checkpoint_every=epoch,
        single_task=False,
        stack_seeds=False,
    )
