"""Heads at zero: their tasks have no shared gradient, and must learn all the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.methods import Method, assert_finite, every_method
from tests.helpers.problems import squared_loss
from tests.helpers.updates import direction_and_weights

K, D, STEPS = 4, 6, 40
# The user, or the definition, gives some heads no weight at all: another task's in
# single_task, those that are not selected in krum.
UNWEIGHTED = {"single_task", "krum"}
# The shortest vector of a hull may need some tasks only, whatever their heads are.
SPARSE = {"mgda"}


def train(name, zero):
    """Scalar heads h_k on features <a_k, theta> towards 1, by plain descent."""
    rng = np.random.default_rng(0)
    shared, features = rng.normal(size=D), rng.normal(size=(K, D))
    heads = np.where(np.isin(np.arange(K), zero), 0, rng.uniform(0.5, 1, K))
    start, state, update = heads, None, of(name)
    for _ in range(STEPS):
        seen = features @ shared
        error = heads * seen - 1
        rows = (error * heads)[:, None] * features
        updates, state = update.updates(rows, jnp.asarray(error**2 / 2), state=state)
        assert_finite((updates, state))
        # What a gradient of 1 becomes by the head rule.
        scale = np.asarray(updates["tasks"].values)[:, 0]
        heads = heads - 0.05 * np.clip(scale * error * seen, -1, 1)
        shared = shared - 0.05 * np.clip(updates["shared"], -1, 1)
    return np.abs(heads - start)


@functools.cache
def of(name):
    heads = "plain" if name in UNWEIGHTED else "weighted"
    return Method(name, heads=heads)


@every_method
def test_every_head_leaves_zero(name):
    for zero in ([1], range(K)):
        moved = train(name, zero)
        assert moved[list(zero)].min() > 1e-3
        assert moved.min() > 1e-3 or name in SPARSE


SHARED = {"w": 0.3 * np.random.default_rng(0).normal(size=(5, 8))}
NAMES = ("age", "size", "weight")


def encode(shared, x, key):
    del key
    return jnp.tanh(x @ shared["w"])


@pytest.mark.parametrize("zero", [("size",), NAMES], ids=["one", "all"])
@pytest.mark.parametrize(
    "tx",
    [
        mtopt.nash_mtl(3),
        mtopt.nash_mtl(3, space="representation"),
        mtopt.weights_every(mtopt.smoothed_weights(mtopt.nash_mtl(3)), n=3),
        mtopt.flat_regions(mtopt.nash_mtl(3), heads="aggregator"),
        mtopt.without_stationary(mtopt.mgda(3)),
        mtopt.without_stationary(mtopt.moco(3, heads="weighted")),
    ],
    ids=["nash", "representation", "lazy", "flat", "without mgda", "without moco"],
)
def test_a_model_with_a_head_at_zero_learns_all_tasks(tx, zero):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(16, 5)).astype("float32")
    y = {name: np.sin(x[:, k] + x[:, k + 1]) for k, name in enumerate(NAMES)}
    tasks = mtopt.Tasks(NAMES, encode, squared_loss)
    heads = {name: 0.3 * rng.normal(size=8) * (name not in zero) for name in NAMES}
    params = {"shared": SHARED, "tasks": mtopt.PerTask.stack(heads)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    tx = mtopt.chain(tx, optax.sgd(0.05))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step, batch = mtopt.make_train_step(tasks, tx), mtopt.Batch.shared(x, y)
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
