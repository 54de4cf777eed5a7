"""A solved task stops the others; left out, it does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.arrays import linear_update
from tests.helpers.close import assert_close
from tests.helpers.methods import (
    SOME,
    D,
    K,
    assert_finite,
    make,
    method,
    over,
    rows,
    weights_of,
)
from tests.helpers.problems import squared_loss, tanh_encode

RESTING = np.array([False, False, True, False])


@over(mtopt.METHODS, slow=set(mtopt.METHODS) - SOME)
def test_the_others_go_on_as_if_it_were_absent(name):
    """With a weight of 1 for a task whose row is 0, by which its own head learns."""
    if not make(name, K).rule.any_rows:
        pytest.skip("perturbs along the rows")
    tx = mtopt.without_stationary(make(name, K))
    jacobian = rows(K, D).at[2].set(0.0)
    losses = jnp.arange(1.0, K + 1)
    direction, state = jax.jit(functools.partial(linear_update, tx))(
        tx.init({"shared": jnp.zeros(D), "tasks": heads()}), jacobian, losses
    )
    expected, alone = method(name)(jacobian, losses, ~RESTING)
    assert_close(direction, expected, rtol=1e-4)
    weights = weights_of(state)
    assert_close(weights[~RESTING], weights_of(alone)[~RESTING], rtol=1e-4)
    assert weights[2] == 1


def heads():
    return mtopt.linear_problem(jnp.zeros((K, D)), jnp.ones(K))[1]["tasks"]


def test_what_a_task_had_says_what_is_zero_to_rounding():
    """Not what the others have: losses in small units stay in."""
    tx = mtopt.without_stationary(mtopt.mgda(2))
    state = tx.init(jnp.zeros(2))
    small = jnp.array([[1.0, 0.0], [0.0, 1e-6]])
    _, state = tx.update(small, state)
    expected = mtopt.mgda(2)
    _, alone = expected.update(small, expected.init(jnp.zeros(2)))
    assert_close(weights_of(state), weights_of(alone), rtol=1e-6)
    # Now the first task's gradient is rounding of what it was.
    direction, state = tx.update(jnp.array([[1e-6, 0.0], [0.0, 1e-6]]), state)
    np.testing.assert_allclose(weights_of(state), [1, 1])
    np.testing.assert_allclose(direction, [0, 1e-6], rtol=1e-5)
    direction, state = tx.update(jnp.array([[1e-3, 0.0], [0.0, 1e-6]]), state)
    assert weights_of(state)[1] > 0.99  # it is back, and MGDA follows the shorter one


def test_averages_of_a_task_that_rests_move_nothing():
    tx = mtopt.without_stationary(mtopt.moco(2, beta=1.0, gamma=0.0))
    state = tx.init(jnp.zeros(2))
    for jacobian in ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]):
        direction, state = tx.update(jnp.array(jacobian), state)
    np.testing.assert_allclose(direction, [0, 1], atol=1e-6)


NAMES = ("age", "size", "weight")


@over(
    ["mgda", "ldc", "famo", "moco", "sdmgrad", "krum"], slow=["ldc", "sdmgrad", "krum"]
)
def test_a_solved_task_stops_no_other(name):
    """Loss 0 from the start: labels 0 and a head at zero."""

    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 5)).astype("float32")
    y = {
        "age": np.sin(x[:, 0]),
        "size": np.zeros(32),
        "weight": np.sin(x[:, 1] + x[:, 2]),
    }
    y = {task: labels.astype("float32") for task, labels in y.items()}
    tasks = mtopt.Tasks(NAMES, tanh_encode, squared_loss)
    heads = {task: 0.3 * rng.normal(size=8) * (task != "size") for task in NAMES}
    params = {
        "shared": jnp.asarray(0.3 * rng.normal(size=(5, 8)), jnp.float32),
        "tasks": mtopt.PerTask.stack(jax.tree.map(jnp.float32, heads)),
    }

    def training(aggregator):
        tx = mtopt.chain(aggregator, optax.adam(1e-2))
        step = mtopt.make_train_step(tasks, tx)
        return functools.partial(trained, tx, step)

    def trained(tx, step, batch):
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        for _ in range(100):
            state, metrics = step(state, batch)
        assert_finite(state.opt_state)
        return np.asarray(metrics["losses"])[[0, 2]]

    everyone = mtopt.Batch.shared(x, y)
    alone = mtopt.Batch(x, everyone.y, everyone.mask & [[True], [False], [True]])
    aggregator = make(name, 3)
    plain = training(aggregator)
    expected = plain(alone)
    found = training(mtopt.without_stationary(aggregator))(everyone)
    assert_close(found, expected, rtol=1e-3)
    if name in ("mgda", "ldc", "famo"):
        assert plain(everyone).max() > 1.5 * found.max()
