"""Every method on families of gradients that break solvers, in both precisions.

The families are those of TorchJD's suite: gradients of every rank, zero, strongly and
weakly stationary ones, and all of these at scales from 1e-10 to 1e15, K up to 20 and
of shapes up to 20 x 100. Under ``vmap`` all samples of a shape are one program; ``jit``
and eager calls then agree with it. By default one shape in float32; ``-m slow`` runs
all shapes, in both precisions and all modes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers.methods import every_method, make

SCALES = (0.0, 1e-10, 1e3, 1e5, 1e10, 1e15)
SHAPES = {
    (1, 1): (1,),
    (4, 3): (1, 2, 3),
    (9, 11): (5, 9),
    (20, 10): (1, 5, 10),
    (20, 100): (1, 19),
}


def orthogonal(rng, size, count):
    return np.linalg.qr(rng.normal(size=(size, count)))[0]


def of_rank(rng, shape, rank, orthogonal_to=None):
    """Random rows of this rank, their left space orthogonal to a vector."""
    left = rng.normal(size=(shape[0], rank))
    if orthogonal_to is not None:
        unit = orthogonal_to / np.linalg.norm(orthogonal_to)
        left = left - np.outer(unit, unit @ left)
    left = np.linalg.qr(left)[0]
    return left * np.abs(rng.normal(size=rank)) @ orthogonal(rng, shape[1], rank).T


def family(shape):
    """All samples of a shape ``[n, K, D]``."""
    rng = np.random.default_rng(0)
    samples = [np.zeros(shape)]
    for rank in SHAPES[shape]:
        samples.append(of_rank(rng, shape, rank))
        if shape[0] > 2 and rank < shape[0]:
            positive = rng.uniform(0.1, 1, size=shape[0])
            samples.append(of_rank(rng, shape, rank, positive))  # strongly stationary
            some = positive * (np.arange(shape[0]) < shape[0] // 2)
            samples.append(of_rank(rng, shape, rank, some))  # weakly stationary
    scaled = [scale * sample for sample in samples[1:] for scale in SCALES]
    return np.stack(samples + scaled)


def updater(name, shape):
    tx = make(name, shape[0])
    _, params = mtopt.linear_problem(jnp.zeros(shape), jnp.ones(shape[0]))
    losses = jnp.arange(1.0, shape[0] + 1)

    def update(jacobian):
        return mtopt.linear_update(tx, tx.init(params), jacobian, losses)

    return update


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(np.asarray(leaf)).all()


def check(name, shape, x64, modes):
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
        for mode in modes:
            alone, _ = mode(update)(samples[one])
            np.testing.assert_allclose(
                alone, directions[one], rtol=0, atol=tolerance * scale
            )


@every_method
def test_a_family_in_float32(name):
    check(name, (9, 11), False, ())


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_all_families_in_all_modes(name, shape, x64):
    check(name, shape, x64, (jax.jit, lambda update: update))
