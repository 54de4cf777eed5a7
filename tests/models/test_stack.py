"""Stacks of networks of convolutions, run in turn, are what mapped ones are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtopt.models.layers import BatchNorm, padded_conv
from mtopt.models.stack import Stack
from tests.helpers.close import assert_close

COUNT = 3


class Network(nnx.Module):
    def __init__(self, rngs):
        self.conv = padded_conv(2, 4, 3, 1, dtype=jnp.float32, rngs=rngs)
        self.norm = BatchNorm(4)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(jax.nn.relu(self.norm(self.conv(x))))


@pytest.mark.parametrize("x_axis", [None, 1])
def test_outputs_statistics_noise_and_gradients_are_those_of_mapped_networks(x_axis):
    shape = (5, COUNT, 6, 6, 2) if x_axis else (5, 6, 6, 2)
    x = jax.random.normal(jax.random.key(1), shape)

    def run(how):
        stack = Stack(Network, COUNT, nnx.Rngs(0))

        def loss(networks):
            out = how(networks, x)
            return (out**2).mean(), out

        over = nnx.value_and_grad(loss, has_aux=True)
        found = over(stack.stack)
        again = how(stack.stack, x)  # with the noise that comes next
        return found, again, nnx.state(stack.stack, nnx.BatchStat)

    def mapped(networks, x):
        over = nnx.vmap(lambda one, x: one(x), in_axes=(0, x_axis), out_axes=1)
        return over(networks, x)

    def in_turn(networks, x):
        stack = Stack(Network, COUNT, nnx.Rngs(0))
        stack.stack = networks
        return stack(x) if x_axis is None else stack.each(x)

    expected, found = run(mapped), run(in_turn)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert_close(b, a, rtol=1e-5)
    first, second = np.asarray(found[0][0][1]), np.asarray(found[1])
    assert ((first == 0) != (second == 0)).any()


def test_no_convolution_is_one_of_groups():
    stack = Stack(Network, COUNT, nnx.Rngs(0))
    structure, state = nnx.split(stack)

    def run(state, x):
        return nnx.merge(structure, state)(x)

    program = jax.jit(run).lower(state, jnp.ones((5, 6, 6, 2))).as_text()
    assert program.count("stablehlo.convolution") == COUNT
    assert "feature_group_count = 1" in program
    assert f"feature_group_count = {COUNT}" not in program
