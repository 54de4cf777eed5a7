"""The smallest model of pixels, for what is not about models."""

import jax
from flax import nnx

from mtopt.models import functional
from mtopt.models.layers import as_floats
from mtopt.models.pixels import pixel_head


class OneConvolution(nnx.Module):
    def __init__(self, channels, *, dtype, rngs):
        self.conv = nnx.Conv(channels, 4, (3, 3), dtype=dtype, rngs=rngs)
        self.dtype = dtype

    def __call__(self, x):
        return jax.nn.relu(self.conv(as_floats(x, self.dtype)))


def one_convolution(input_shape, *, names, kind, outputs, x_axis, dtype):
    """A convolution, and the heads of every model of pixels."""
    return functional(
        lambda rngs: OneConvolution(input_shape[-1], dtype=dtype, rngs=rngs),
        pixel_head(4, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
    )
