"""Every method on families of gradients that break solvers, in both precisions.

The families are those of TorchJD's suite: gradients of every rank, zero, strongly and
weakly stationary ones, and all of these at scales from 1e-10 to 1e15, K up to 20 and
of shapes up to 20 x 100. Under ``vmap`` all samples of a shape are one program; ``jit``
and eager calls then agree with it. One more shape, in float32, is among the invariants.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers.arrays import linear_update
from tests.helpers.families import SHAPES, family
from tests.helpers.methods import assert_finite, every_method, make


def updater(name, shape):
    tx = make(name, shape[0])
    _, params = mtopt.linear_problem(jnp.zeros(shape), jnp.ones(shape[0]))
    losses = jnp.arange(1.0, shape[0] + 1)

    def update(jacobian):
        return linear_update(tx, tx.init(params), jacobian, losses)

    return update


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_all_families_in_all_modes(name, shape, x64):
    with jax.enable_x64(x64):
        samples = jnp.asarray(family(shape), jnp.float64 if x64 else jnp.float32)
        update = updater(name, shape)
        directions, states = jax.jit(jax.vmap(update))(samples)
        assert directions.shape == (len(samples), shape[1])
        assert directions.dtype == samples.dtype
        assert_finite((directions, states))
        assert not np.asarray(directions[0]).any()
        # One of full rank: where gradients are dependent, weights may not be unique.
        one = 1 + 3 * (len(SHAPES[shape]) - 1)
        # Of a singular Gramian, a solve knows the weights to the root of rounding; MOML
        # applies those of scaled hyper-gradients to the unscaled ones, where other
        # minimisers give other slopes.
        tolerance = 1e-7 if x64 and name != "moml" else 1e-3
        scale = np.abs(samples[one]).max()
        for mode in (jax.jit, lambda update: update):
            alone, _ = mode(update)(samples[one])
            np.testing.assert_allclose(
                alone, directions[one], rtol=0, atol=tolerance * scale
            )
