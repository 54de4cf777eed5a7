"""Scenes: classes, depth and normals of every pixel, of rendered rooms.

``python -m experiments.main --experiment=scenes``: the benchmark of dense prediction
that needs no download. A dilated ResNet-18 of an eighth of the widths, on images of
64 x 64 pixels; with networks in which tasks have parts of their own::

  --config.model="mtan(network='deeplab(depth=18, width=8)')"
  --config.model="cross_stitch(encoder='deeplab(depth=18, width=8)')"
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """A small DeepLab by the methods of the field's tables, three seeds."""
    return Config(
        data="scenes",
        # In as many steps a SegNet of these widths hardly leaves what all images share.
        model="deeplab(depth=18, width=8)",
        methods=("equal_weighting", "mgda", "upgrad", "nash_mtl"),
        # Of 1e-3, 3e-3 and 1e-2 the best rate for equal weighting, on other scenes.
        optimizer=Optimizer("adam", 1e-2, "cosine_decay"),
        seeds=(0, 1, 2),
        steps=600,
        batch_size=8,
        eval_every=150,
        log_every=50,
        checkpoint_every=300,
        stack_seeds=False,
    )
