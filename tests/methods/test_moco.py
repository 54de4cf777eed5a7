"""MoCo, against its algorithm in float64; where it settles."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtopt.chain import chain
from mtopt.errors import UserError
from mtopt.methods.moco import moco
from tests.helpers.row_methods import D, K, assert_follows, batches
from tests.helpers.simplex import nearest_on_simplex
from tests.helpers.updates import GOLDEN


@pytest.mark.parametrize("variant", ["paper", "libmtl"])
def test_moco_follows_the_algorithm(variant):
    rows, losses, present = batches()

    def reference():
        y, weights, count = np.zeros((K, D)), np.full(K, 1 / K), np.zeros(K)
        for t, (row, loss, here) in enumerate(zip(rows, losses, present, strict=True)):
            ids = np.flatnonzero(here)
            for k in ids:
                count[k] += 1
                g = row[k]
                if variant == "libmtl":
                    g = g / (np.linalg.norm(g) + 1e-8) * loss[k]
                y[k] -= 0.5 / count[k] ** 0.5 * (y[k] - g)
            total = weights[ids].sum()
            shares = weights[ids] / total
            slope = (y[ids] @ y[ids].T + 0.2 * np.eye(len(ids))) @ shares
            pace = 0.3 / (t + 1) ** 0.5
            if variant == "libmtl":
                shares = np.exp(shares - pace * slope)
                shares /= shares.sum()
            else:
                shares = nearest_on_simplex(shares - 2 * pace * slope)
            weights[ids] = total * shares
            yield shares @ y[ids]

    tx = moco(K, beta=0.5, gamma=0.3, rho=0.2, variant=variant)
    assert_follows(tx, reference(), (rows, losses, present))


def test_moco_settles_on_the_weights_of_mgda():
    tx = moco(2, beta=1.0, beta_decay=0.0, gamma=0.01, gamma_decay=0.0)
    state = tx.init(jnp.zeros(3))
    update = jax.jit(tx.update)
    for _ in range(60):
        direction, state = update(GOLDEN, state)
    np.testing.assert_allclose(state.weights, [0.6, 0.4], atol=1e-4)
    np.testing.assert_allclose(direction, [0, 1, 1], atol=1e-3)


def test_moco_in_the_form_of_libmtl_needs_losses():
    tx = moco(2, variant="libmtl")
    with pytest.raises(UserError, match="reads losses"):
        tx.update(GOLDEN, tx.init(jnp.zeros(3)))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (moco, {"beta": 0.0}, "beta is 0.0"),
        (moco, {"rho": -1.0}, "rho is -1.0"),
        (moco, {"variant": "official"}, "variant is 'official'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)


def test_weights_read_back():
    tx = chain(moco(2), optax.sgd(0.1))
    state = tx.init(jnp.zeros(3))
    assert optax.tree.get(state, "weights").tolist() == [0.5, 0.5]
