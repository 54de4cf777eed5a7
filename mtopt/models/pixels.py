r"""Losses and the head of labels of pixels, whose kinds :mod:`mtopt.pixels` has.

================ ============================
kind             loss of a pixel
================ ============================
``segmentation`` cross-entropy
``depth``        :math:`|\hat d - d|`
``normals``      :math:`1 - \hat n \cdot n`
================ ============================

A task's loss is the mean over the pixels that have a label, of all samples of a batch
together, as in the released codes of Liu et al. (2019, arXiv 1803.10704) and those
after it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from mtopt.errors import expect
from mtopt.models.layers import conv
from mtopt.pixels import DEPTH, NORMALS, PIXELS, SEGMENTATION

SMALLEST_NORM = 1e-6


def pixel_cross_entropy(
    outputs: Float[Array, "b h w C"], targets: Int[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """Softmax cross-entropy of every pixel, in nats; of class -1 that of class 0."""
    return optax.softmax_cross_entropy_with_integer_labels(
        outputs, jnp.maximum(targets, 0)
    )


def absolute_difference(
    outputs: Float[Array, "b h w"], targets: Num[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """The distance of every pixel's number from its label, in the label's unit."""
    return jnp.abs(outputs - targets)


def one_minus_cosine(
    outputs: Float[Array, "b h w 3"], targets: Num[Array, "b h w 3"]
) -> Float[Array, "b h w"]:
    """From 0 to 2, of unit vectors: 0 where they agree, 1 at a right angle."""
    return 1 - (outputs * targets).sum(axis=-1)


PIXEL_LOSSES: dict[str, Callable[..., Float[Array, "b h w"]]] = {
    SEGMENTATION: pixel_cross_entropy,
    DEPTH: absolute_difference,
    NORMALS: one_minus_cosine,
}
"""Kind of label to ``(outputs, targets) -> losses of pixels``."""


def check_pixels(kind: str) -> None:
    """Raises unless ``kind`` is one of labels of pixels.

    Raises:
      UserError: with all of them.
    """
    expected = f"one of {PIXELS}, since the model's outputs are of pixels"
    expect(kind in PIXELS, "kind", kind, expected)


def pixel_predictions(
    outputs: Float[Array, "b h w C"], kind: str
) -> Float[Array, "b h w ..."]:
    """What a head's outputs stand for: logits, numbers, unit vectors.

    Args:
      outputs: of :func:`pixel_head`; vectors of any length, but 0.
      kind: an entry of :data:`mtopt.pixels.PIXELS`.
    """
    if kind == SEGMENTATION:
        return outputs
    if kind == DEPTH:
        return outputs[..., 0]
    # The square root has no derivative at 0, and no direction is the right one there.
    squared = (outputs**2).sum(axis=-1, keepdims=True)
    return outputs * jax.lax.rsqrt(jnp.maximum(squared, SMALLEST_NORM**2))


class PixelHead(nnx.Module):
    """Two convolutions on a representation of pixels; see :func:`pixel_head`."""

    def __init__(
        self, features: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        options: dict[str, Any] = {"padding": "SAME", "dtype": dtype, "rngs": rngs}
        self.conv = conv(features, features, size=3, **options)
        self.outputs = conv(features, outputs, size=1, **options)

    def __call__(self, x: Float[Array, "b h w features"]) -> Float[Array, "b h w C"]:
        """The outputs of every pixel."""
        return self.outputs(self.conv(x))


def pixel_head(
    features: int, outputs: int, *, kind: str, dtype: DTypeLike = jnp.float32
) -> Callable[[nnx.Rngs], nnx.Module]:
    """A 3x3 and a 1x1 convolution, without a nonlinearity between them.

    Args:
      features: of a pixel in the representation ``[b, h, w, features]``.
      outputs: classes, 1 of depth, or 3 of normals.
      kind: an entry of :data:`mtopt.pixels.PIXELS`; the head of all is the same, but
        for its outputs.
      dtype: what it computes in.

    Raises:
      UserError: for labels that are not of pixels.

    References:
      The heads of SegNet and MTAN in the released code of Liu, Johns and Davison,
      End-to-End Multi-Task Learning with Attention, CVPR 2019, arXiv 1803.10704.
    """
    check_pixels(kind)
    return lambda rngs: PixelHead(features, outputs, dtype=dtype, rngs=rngs)
