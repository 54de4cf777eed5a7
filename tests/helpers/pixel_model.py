"""The smallest model of pixels, for what is not about models."""

import jax
import jax.numpy as jnp
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


EVERY = 8


class Coarse(nnx.Module):
    def __init__(self, dtype):
        self.scale = nnx.Param(jnp.ones(()))
        self.dtype = dtype

    def __call__(self, x):
        return self.scale[...] * as_floats(x[:, ::EVERY, ::EVERY], self.dtype)


class CoarseHead(nnx.Module):
    def __init__(self, features, outputs, *, rngs):
        self.dense = nnx.Linear(features, outputs, rngs=rngs)

    def __call__(self, z):
        return self.dense(z).repeat(EVERY, axis=1).repeat(EVERY, axis=2)


def coarse(input_shape, *, names, kind, outputs, x_axis, dtype):
    """One linear layer on every eighth pixel each way: as cheap as a model can be."""
    return functional(
        lambda rngs: Coarse(dtype),
        lambda rngs: CoarseHead(input_shape[-1], outputs, rngs=rngs),
        names,
        kind=kind,
        x_axis=x_axis,
    )
