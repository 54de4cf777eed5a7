"""Where along one side of an image a window's pixels are read."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

ROUNDING = 1e-6
"""What a place may be off a whole pixel by arithmetic alone."""


@dataclasses.dataclass(frozen=True)
class Window:
    """The places of a window's pixels, of which there are as many as of the image's.

    Args:
      near: the pixel that each lies in; below 0 or from L on, outside of the image.
      low: the last pixel whose centre does not lie behind it.
      fraction: of the way from there to the next.
    """

    near: Int[Array, " L"]
    low: Int[Array, " L"]
    fraction: Float[Array, " L"]

    @classmethod
    def drawn(
        cls,
        key: PRNGKeyArray,
        length: int,
        scales: Sequence[float],
        which: Int[Array, ""],
    ) -> "Window":
        """One of a random place.

        Args:
          key: that decides it.
          length: L, pixels of the image.
          scales: the window is ``length / scale`` pixels long.
          which: of them.
        """
        # In float64: which pixel is nearest is no matter of rounding.
        of_scale = np.asarray(scales, np.float64)[:, None]
        at = (np.arange(length) + 0.5)[None] / of_scale
        room = length - length / of_scale[:, 0]
        first = np.ceil(np.minimum(room, 0) - ROUNDING).astype(np.int32)
        last = np.floor(np.maximum(room, 0) + ROUNDING).astype(np.int32)
        near = np.floor(at + ROUNDING)
        low = np.floor(at - 0.5 + ROUNDING)
        fraction = np.maximum(at - 0.5 - low, 0)
        offset = jax.random.randint(
            key, (), jnp.asarray(first)[which], jnp.asarray(last)[which] + 1
        )
        return cls(
            jnp.asarray(near, jnp.int32)[which] + offset,
            jnp.asarray(low, jnp.int32)[which] + offset,
            jnp.asarray(fraction, jnp.float32)[which],
        )

    @property
    def inside(self) -> Bool[Array, " L"]:
        """Which places are of the image."""
        return (self.near >= 0) & (self.near < len(self.near))

    def nearest(
        self, values: Shaped[Array, "..."], axis: int, outside: int
    ) -> Shaped[Array, "..."]:
        """The values of the nearest pixels.

        Args:
          values: of pixels.
          axis: of the side.
          outside: what stands where there is no pixel.
        """
        found = jnp.take(values, self.near, axis, mode="clip")
        there = _along(self.inside, axis, values.ndim)
        return jnp.where(there, found, jnp.asarray(outside, values.dtype))

    def bilinear(self, values: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
        """The values between pixels, 0 outside of the image.

        Args:
          values: of pixels.
          axis: of the side.
        """
        low, high = (
            jnp.take(values, self.low + step, axis, mode="clip") for step in (0, 1)
        )
        mixed = low + _along(self.fraction, axis, values.ndim) * (high - low)
        return jnp.where(_along(self.inside, axis, values.ndim), mixed, 0)


def _along(values: Shaped[Array, " L"], axis: int, ndim: int) -> Shaped[Array, "..."]:
    """An array that stands along one axis of several."""
    others = [a for a in range(ndim) if a != axis]
    return jnp.expand_dims(values, others)
