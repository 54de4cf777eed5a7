"""DB-MTL, against its algorithm in float64; its scales and its heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.methods.db_mtl import db_mtl
from tests.helpers.close import assert_close
from tests.helpers.row_methods import D, K, assert_follows, batches
from tests.helpers.updates import GOLDEN


def test_db_mtl_follows_the_algorithm():
    rows, losses, present = batches()

    def reference():
        average, count = np.zeros((K, D)), np.zeros(K)
        for row, loss, here in zip(rows, losses, present, strict=True):
            for k in np.flatnonzero(here):
                count[k] += 1
                beta = 0.9 / count[k] ** 0.5
                log_gradient = row[k] / (loss[k] + 1e-8)
                average[k] = beta * average[k] + (1 - beta) * log_gradient
            norms = np.linalg.norm(average, axis=1)
            longest = norms[here].max()
            yield sum(
                longest / (norms[k] + 1e-8) * average[k] for k in range(K) if here[k]
            )

    assert_follows(db_mtl(K, sigma=0.5), reference(), (rows, losses, present))


def test_db_mtl_is_blind_to_scales_and_shares_a_direction_with_nash():
    rows, losses = GOLDEN, jnp.array([2.0, 5.0])
    tx = db_mtl(2)
    update = jax.jit(
        lambda rows, losses: tx.update(
            rows, tx.init(rows[0]), evaluation=mtopt.Evaluation(losses=losses)
        )
    )
    direction, _ = update(rows, losses)
    unit = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(
        direction / jnp.linalg.norm(direction),
        unit.sum(0) / jnp.linalg.norm(unit.sum(0)),
        atol=1e-6,
    )
    scale = jnp.array([1e3, 1e-3])
    again, _ = update(rows * scale[:, None], losses * scale)
    assert_close(again, direction, rtol=1e-4)
    tiny, _ = update(rows * 1e10, jnp.zeros(2))
    assert np.isfinite(np.asarray(tiny)).all()


@pytest.mark.parametrize("heads", ["plain", "weighted"])
def test_db_mtl_heads_descend_the_logarithm(heads):
    own = mtopt.PerTask(jnp.array([[1.0], [1.0]]), ("a", "b"))
    tx = db_mtl(2, heads=heads)
    updates = {"shared": GOLDEN, "tasks": own}
    losses = jnp.array([0.5, 4.0])
    state = tx.init({"shared": jnp.zeros(3), "tasks": own})
    direction, state = jax.jit(tx.update)(
        updates, state, evaluation=mtopt.Evaluation(losses=losses)
    )
    factor = 1 if heads == "plain" else state.weights
    np.testing.assert_allclose(
        direction["tasks"].values[:, 0], factor / losses, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (db_mtl, {"beta": 1.0}, "beta is 1.0"),
        (db_mtl, {"sigma": -1.0}, "sigma is -1.0"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
