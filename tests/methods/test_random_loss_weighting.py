"""Random loss weighting: its distributions, and its keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.random_loss_weighting import (
    DISTRIBUTIONS,
    draw,
    random_loss_weighting,
)
from tests.helpers.loss_methods import follow


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_random_weights(distribution):
    present = jnp.array([True, True, False, True])
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(jax.vmap(lambda key: draw(key, present, distribution)))(keys)
    draws = np.asarray(draws, np.float64)[:, [0, 1, 3]]
    np.testing.assert_allclose(draws.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(draws.mean(0), 1 / 3, atol=0.02)
    spread = draws.var(axis=0).mean()
    if distribution == "dirichlet":
        np.testing.assert_allclose(spread, 2 / (9 * 4), rtol=0.1)
    elif distribution == "constrained_bernoulli":
        assert set(np.unique(draws)) == {0.0, 1.0}
    elif distribution == "bernoulli":
        subsets, counts = np.unique(draws > 0, axis=0, return_counts=True)
        assert len(subsets) == 7
        np.testing.assert_allclose(counts / 4000, 1 / 7, atol=0.03)
    else:
        normal = np.random.default_rng(0).normal(size=(100_000, 3))
        uniform = np.random.default_rng(0).uniform(size=(100_000, 3))
        logits = normal if distribution == "normal" else uniform
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(spread, shares.var(0).mean(), rtol=0.1)


def test_random_weights_are_new_in_every_step_and_follow_the_key():
    weights, _ = follow(random_loss_weighting(3), np.ones((3, 3)))
    assert len(np.unique(weights[:, 0])) == 3
    tx = random_loss_weighting(3)
    rows = np.eye(3, dtype="float32")
    update, state = jax.jit(tx.update), tx.init(rows[0])
    drawn = [
        update(rows, state, evaluation=mtopt.Evaluation(key=jax.random.key(seed)))
        for seed in (5, 5, 6)
    ]
    drawn = [np.asarray(after.weights) for _, after in drawn]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_loss_weighting(2, distribution="x"), "distribution is 'x'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
