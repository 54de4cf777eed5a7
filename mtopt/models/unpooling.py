"""Max-pooling that remembers where the maxima were, and its way back."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8


def max_pool_with_places(
    x: Float[Array, "B H W C"],
) -> tuple[Float[Array, "B h w C"], UInt8[Array, "B h w C"]]:
    """The maximum over 2 x 2 windows, and which of the four each was.

    A maximum is picked by its place, so that its gradient goes to one pixel, the first
    of equal ones, and the gradient of pooling is :func:`unpool`: a select, no scatter.
    One byte a window is kept, in place of the four numbers. The gradient of ``x.max``
    looks for the pixels that equal the maximum, and finds none where XLA computes a
    normalisation again in the backward pass, with another rounding.

    Args:
      x: feature maps of even height and width.

    Returns:
      The maxima, and their places: 0 and 1 in the upper row of a window, 2 and 3 in the
      lower.

    Example:
      >>> x = jnp.array([[1., 5., 0., 0.], [2., 3., 0., 7.]]).reshape(1, 2, 4, 1)
      >>> maxima, places = max_pool_with_places(x)
      >>> maxima[0, :, :, 0].tolist(), places[0, :, :, 0].tolist()
      ([[5.0, 7.0]], [[1, 3]])
    """
    batch, height, width, channels = x.shape
    windows = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    a, b, c, d = (windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1))
    lower = jnp.maximum(c, d) > jnp.maximum(a, b)
    places = jnp.where(lower, 2 + (d > c), b > a).astype(jnp.uint8)
    return jnp.where(_there(places), windows, 0).sum(axis=(2, 4)), places


def unpool(
    x: Float[Array, "B h w C"], places: UInt8[Array, "B h w C"]
) -> Float[Array, "B H W C"]:
    """Every value at its place in a window of 2 x 2 pixels, zeros at the others.

    Args:
      x: feature maps.
      places: of :func:`max_pool_with_places`.

    Example:
      >>> ones, places = jnp.ones((1, 1, 2, 1)), jnp.array([1, 2], jnp.uint8)
      >>> unpool(ones, places.reshape(1, 1, 2, 1))[0, :, :, 0].tolist()
      [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    there = _there(places)
    spread = jnp.broadcast_to(x[:, :, None, :, None], there.shape)
    batch, height, width, channels = x.shape
    return jnp.where(there, spread, 0).reshape(batch, 2 * height, 2 * width, channels)


def _there(places: UInt8[Array, "B h w C"]) -> Bool[Array, "B h 2 w 2 C"]:
    """Whether a pixel of a window is the one that was picked."""
    batch, height, width, channels = places.shape
    shape = (batch, height, 2, width, 2, channels)
    pixels = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
    picked = jnp.broadcast_to(places[:, :, None, :, None], shape)
    return picked == jnp.broadcast_to(pixels, shape)
