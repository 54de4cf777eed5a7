"""Scenes: classes, depth and normals of every pixel, of rendered rooms.

``python -m experiments.main --experiment=scenes``: the benchmark of dense prediction
that needs no download. A quarter of SegNet's widths on images of 64 x 64 pixels; with
networks in which tasks have parts of their own::

  --config.model="mtan(network='segnet(width=16)')"
  --config.model="cross_stitch(encoder='segnet(width=16)')"
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """SegNet by the methods of the field's tables, three seeds."""
    return Config(
        data="scenes",
        model="segnet(width=16)",
        methods=("equal_weighting", "mgda", "upgrad", "nash_mtl"),
        optimizer=Optimizer("adam", 1e-3, "cosine_decay"),
        seeds=(0, 1, 2),
        steps=1000,
        batch_size=8,
        eval_every=250,
        log_every=50,
        checkpoint_every=500,
        stack_seeds=False,
    )
