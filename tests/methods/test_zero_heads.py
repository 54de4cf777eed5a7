"""Heads at zero: their tasks have no shared gradient, and must learn all the same.

For every method alone, see test_invariants.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.problems import squared_loss
from tests.helpers.updates import direction_and_weights

SHARED = {"w": 0.3 * np.random.default_rng(0).normal(size=(5, 8))}
NAMES = ("age", "size", "weight")


def encode(shared, x, key):
    del key
    return jnp.tanh(x @ shared["w"])


METHODS = {
    "nash": mtopt.nash_mtl(3),
    "representation": mtopt.nash_mtl(3, space="representation"),
    "lazy": mtopt.weights_every(mtopt.smoothed_weights(mtopt.nash_mtl(3)), n=3),
    "flat": mtopt.flat_regions(mtopt.nash_mtl(3), heads="aggregator"),
    "without mgda": mtopt.without_stationary(mtopt.mgda(3)),
    "without moco": mtopt.without_stationary(mtopt.moco(3, heads="weighted")),
}


@functools.cache
def training(name):
    """The optimizer, and one program whatever heads are at zero."""
    tx = mtopt.chain(METHODS[name], optax.sgd(0.05))
    return tx, mtopt.make_train_step(mtopt.Tasks(NAMES, encode, squared_loss), tx)


@pytest.mark.parametrize("zero", [("size",), NAMES], ids=["one", "all"])
@pytest.mark.parametrize("name", METHODS)
def test_a_model_with_a_head_at_zero_learns_all_tasks(name, zero):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(16, 5)).astype("float32")
    y = {task: np.sin(x[:, k] + x[:, k + 1]) for k, task in enumerate(NAMES)}
    heads = {task: 0.3 * rng.normal(size=8) * (task not in zero) for task in NAMES}
    params = {"shared": SHARED, "tasks": mtopt.PerTask.stack(heads)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    tx, step = training(name)
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    batch = mtopt.Batch.shared(x, y)
    first = None
    for _ in range(40):
        state, metrics = step(state, batch)
        first = metrics["losses"] if first is None else first
    moved = state.params["tasks"].values - params["tasks"].values
    assert np.abs(moved).max(1).min() > 1e-3
    assert (metrics["losses"] < 0.9 * first).all()


def test_a_task_at_rest_does_not_turn_the_direction():
    """Its weight is for its head alone, and is that of a plain one, whatever the rest.

    Nash's own would be infinite; the others' have the inverse scale of their gradients.
    """
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype("float32") * 1e-3
    resting = np.concatenate([rows, np.zeros((1, 5), "float32")])
    for name in ("nash_mtl", "fairgrad", "aligned_mtl", "conflict_free", "imtl_g"):
        without, others = direction_and_weights(mtopt.METHODS[name](3), rows)
        direction, weights = direction_and_weights(mtopt.METHODS[name](4), resting)
        np.testing.assert_allclose(direction, without, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(weights, [*others, 1], rtol=1e-4, err_msg=name)
