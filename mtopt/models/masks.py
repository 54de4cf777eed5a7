"""Soft attention of one task on the feature maps of a network that tasks share."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.models.layers import Normed


class MaskSize(NamedTuple):
    """The channels of a mask.

    Attributes:
      inputs: of what it reads.
      inner: of the layer in between.
      outputs: of the maps that it is laid on.
    """

    inputs: int
    inner: int
    outputs: int


class Masks(nnx.Module):
    r"""The masks of one task, :math:`a = \sigma(h(g(z)))`, one for each place.

    g and h are convolutions 1x1 with batch normalisation, g with relu.

    Args:
      sizes: of each.
      dtype: what they compute in; parameters are float32.
      rngs: of the parameters.

    Example:
      >>> masks = Masks([MaskSize(5, 2, 3)], dtype=jnp.float32, rngs=nnx.Rngs(0))
      >>> masks(0, jnp.ones((1, 4, 4, 5))).shape
      (1, 4, 4, 3)

    References:
      Liu, Johns and Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019,
      arXiv 1803.10704.
    """

    def __init__(
        self, sizes: Iterable[MaskSize], *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        sizes = list(sizes)
        options = {"size": 1, "dtype": dtype, "rngs": rngs}
        self.g = nnx.List(Normed(size.inputs, size.inner, **options) for size in sizes)
        self.h = nnx.List(Normed(size.inner, size.outputs, **options) for size in sizes)

    def __call__(
        self, place: int, *read: Float[Array, "b h w _"]
    ) -> Float[Array, "b h w d"]:
        """What the task lets through there, from 0 to 1, by all that it reads."""
        z = read[0] if len(read) == 1 else jnp.concatenate(read, axis=-1)
        return jax.nn.sigmoid(self.h[place](jax.nn.relu(self.g[place](z))))
