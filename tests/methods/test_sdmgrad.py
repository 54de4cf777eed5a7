"""SDMGrad, against its algorithm in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.sdmgrad import sdmgrad, sdmgrad_weights
from tests.helpers.close import assert_close
from tests.helpers.several_batches import K, jacobian, parts_of, run, three_batches
from tests.helpers.simplex import nearest_on_simplex


def test_sdmgrad_inner_loop_of_the_golden_recurrence():
    options = {"lam": 0.3, "learning_rate": 10.0, "momentum": 0.5}
    everyone, first = jnp.ones(3, bool), jnp.diag(jnp.array([1.0, 0.25, 0.0]))

    @functools.partial(jax.jit, static_argnums=3)
    def rule(weights, cross, preferred, steps):
        new = sdmgrad_weights(
            weights,
            cross,
            everyone,
            preferred=preferred,
            num_iterations=steps,
            **options,
        )
        return new, (new + 0.3 * preferred) / 1.3

    uniform = jnp.full(3, 1 / 3, jnp.float32)
    weights, combined = rule(uniform, first, uniform, 1)
    np.testing.assert_allclose(combined, np.array([1, 1, 11]) / 13, rtol=1e-6)
    _, combined = rule(weights, jnp.eye(3), uniform, 1)
    np.testing.assert_allclose(combined, np.array([6, 6, 1]) / 13, rtol=1e-6)
    third = jnp.array([0.0, 0.0, 1.0])
    weights, _ = rule(uniform, first, third, 1)
    np.testing.assert_allclose(weights, np.array([0, 1, 11]) / 12, rtol=1e-5)
    _, combined = rule(uniform, first, third, 20)
    np.testing.assert_allclose(combined, third, atol=1e-6)


def test_sdmgrad_follows_the_algorithm():
    preference, lam = np.array([0.5, 0.5, 0.0]), 0.6
    batches, weights = three_batches(), np.full(K, 1 / K)
    # Short inner steps: at the published length of 10 they jump between corners, and
    # rounding decides between them.
    tx = sdmgrad(K, lam=lam, preference=(1, 1, 0), learning_rate=0.1, num_iterations=7)
    for batch, (updates, applied, grads) in zip(batches, run(tx, batches), strict=True):
        first, second, third = (
            jacobian(part, batch[4], batch[5]) for part in parts_of(batch, 3)
        )
        cross = first @ second.T
        cross /= np.mean(np.sqrt(np.maximum(np.diag(cross), 0) + 1e-4)) ** 2
        velocity = 0
        for _ in range(7):
            velocity = 0.5 * velocity + cross @ (weights + lam * preference)
            weights = nearest_on_simplex(weights - 0.1 * velocity)
        combined = (weights + lam * preference) / (1 + lam)
        np.testing.assert_allclose(applied, combined, rtol=1e-5, atol=1e-9)
        assert_close(updates["shared"], combined @ third, rtol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, updates["tasks"], grads["tasks"])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (sdmgrad, {"lam": -1.0}, "lam is -1.0"),
        (sdmgrad, {"momentum": 1.0}, "momentum is 1.0"),
        (sdmgrad, {"preference": (1.0, -1.0, 0.0)}, "3 finite numbers of at least 0"),
        (sdmgrad, {"preference": (0.0, 0.0, 0.0)}, "not all 0"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
