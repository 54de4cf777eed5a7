"""Training and evaluation: dropout and running statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import mtopt
from mtopt.models import MODELS, functional
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.models import (
    NAMES,
    TINY,
    make_batch,
    moved_statistics,
    normed,
    residual,
    tiny,
)


def test_dropout_follows_the_key():
    model = normed(dropout=0.5)
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch((3,), "classification", 3)

    @jax.jit
    def seen(params, key):
        problem = model.tasks.problem(batch, key, state)
        # A pass with a copy of the parameters per task has the mask of the joint one.
        copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params["shared"])
        apart = problem.losses({**params, "shared": copies}, shared_axis=0)
        return problem.representation(params), apart, problem.losses(params)

    z, apart, joint = map(np.asarray, seen(params, jax.random.key(1)))
    assert (z == 0).mean() > 0.3
    np.testing.assert_array_equal(z, seen(params, jax.random.key(1))[0])
    assert abs(z - np.asarray(seen(params, jax.random.key(2))[0])).max() > 0
    np.testing.assert_allclose(apart, joint, rtol=1e-6)
    predict = jax.jit(model.predict)
    one, other = (predict(params, state, batch.x) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@over(["set_attention", "transformer"])
def test_attention_drops_by_the_key_and_not_in_evaluation(name):
    model = tiny(name)
    params, _ = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch(TINY[name][0], "classification", 3)

    @jax.jit
    def losses(seed):
        problem = model.tasks.problem(batch, jax.random.key(seed))
        outputs = model.predict(params, {}, batch.x)
        clean = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.y)
        return problem.losses(params), clean.mean(axis=1)

    (one, clean), (other, again), (same, _) = map(losses, (1, 2, 1))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(clean, again)
    assert (one != other).all()
    assert (one != clean).all()


def test_dropout_layers_and_disjoint_tasks_have_masks_of_their_own():
    model = functional(
        lambda rngs: nnx.Sequential(
            nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        ),
        lambda rngs: nnx.Linear(64, 3, rngs=rngs),
        NAMES,
        kind="classification",
        x_axis=0,
    )
    batch = mtopt.Batch(
        jnp.ones((3, 8, 64)), jnp.zeros((3, 8), jnp.int32), jnp.ones((3, 8), bool)
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    problem = model.tasks.problem(batch, jax.random.key(1), state)
    z = np.asarray(jax.jit(problem.representation)(params))
    assert set(np.unique(z)) == {0.0, 4.0}
    assert abs(float((z > 0).mean()) - 0.25) < 0.05  # a common mask would leave 0.5
    assert (z[0] != z[1]).any()


def test_evaluation_reads_the_running_statistics():
    model = normed(dropout=0.5)
    params, state = jax.jit(model.init)(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    state["norm"] = {"mean": jnp.full(4, 0.3), "var": jnp.full(4, 2.0)}
    parts = params["shared"]["linear"], params["tasks"].values
    layer, heads = jax.tree.map(np.asarray, parts)
    h = (x @ layer["kernel"] + layer["bias"][None] - 0.3) / np.sqrt(2.0 + 1e-5)
    expected = np.maximum(h, 0) @ heads["kernel"] + heads["bias"][:, None]
    np.testing.assert_allclose(
        jax.jit(model.predict)(params, state, jnp.asarray(x)),
        expected,
        rtol=1e-4,
        atol=1e-6,
    )


METHODS = {
    "equal_weighting": mtopt.equal_weighting(3),
    "mgda": mtopt.mgda(3),
    "mgda-ub": mtopt.mgda(3, space="representation"),
}


@over(METHODS, slow=["equal_weighting", "mgda-ub"])
def test_statistics_move_once_per_step(name):
    model = normed()
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch((3,), "classification", 3)
    expected = moved_statistics(params, batch.x)
    tx = mtopt.chain(METHODS[name], optax.sgd(0.1))
    train_state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    after, _ = mtopt.make_train_step(model.tasks, tx)(train_state, batch)
    assert_close(after.model_state, expected, rtol=1e-5)


def test_every_disjoint_task_that_is_present_moves_its_own_statistics():
    model = normed(x_axis=0)
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch((3,), "classification", 3, x_axis=0)
    batch = dataclasses.replace(batch, mask=batch.mask.at[1].set(False))
    problem = model.tasks.problem(batch, jax.random.key(1), state)
    each = moved_statistics(params, batch.x)
    expected = jax.tree.map(
        lambda new, old: jnp.stack([new[0], old[1], new[2]]), each, state.values
    )
    found = jax.jit(problem.next_model_state)(params)
    assert_close(found.values, expected, rtol=1e-5)
    assert found.labels.tolist() == [8, 0, 8]


def test_a_task_is_normalised_in_evaluation_as_in_training():
    """Another task's inputs, ten times as large, change nothing of it."""
    model = normed(x_axis=0)
    params, state = model.init(jax.random.key(0))
    batch = make_batch((3,), "classification", 3, x_axis=0)
    loud = dataclasses.replace(batch, x=batch.x * np.float32([[[1]], [[10]], [[1]]]))

    def outputs(batch):
        moved = model.tasks.problem(batch, jax.random.key(1), state)
        return model.predict(params, moved.next_model_state(params), batch.x)

    found, expected = jax.jit(outputs)(loud), jax.jit(outputs)(batch)
    np.testing.assert_allclose(found[::2], expected[::2], rtol=1e-5)


@pytest.mark.parametrize(
    "method", [pytest.param("equal_weighting", marks=pytest.mark.slow), "mgda"]
)
def test_statistics_cost_no_second_forward(method):
    model = residual()
    tx = mtopt.chain(METHODS[method], optax.sgd(0.1))
    step = mtopt.make_train_step(model.tasks, tx)
    params, state = jax.jit(model.init)(jax.random.key(0))
    train_state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    batch = make_batch((8, 8, 1), "classification", 3)

    def flops(function):
        compiled = jax.jit(function).lower(train_state, batch).compile()
        return compiled.cost_analysis()["flops"]

    without = flops(lambda s, b: dataclasses.replace(step(s, b)[0], model_state=None))
    assert flops(step) / without == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "shift", "statistics"),
    [(1.0, 3.0, "own"), (0.1, 0.0, "own"), (1.0, 3.0, "pooled")],
    ids=["brighter", "of less contrast", "brighter, pooled"],
)
def test_what_two_domains_learned_is_there_in_evaluation(scale, shift, statistics):
    """Real digits; the second task's images are brighter, or of less contrast."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))[:1780]
    x = (images[order] / 16).reshape(2, 890, 8, 8, 1).astype("float32")
    x[1] = x[1] * scale + shift
    y = digits[order].reshape(2, 890)
    common = {"names": NAMES[:2], "kind": "classification", "outputs": 10, "x_axis": 0}
    model = MODELS["resnet18"]((8, 8, 1), width=4, statistics=statistics, **common)
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(3e-3))
    params, model_state = model.init(jax.random.key(0))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0), model_state)
    step = mtopt.make_train_step(model.tasks, tx)
    rng, tasks = np.random.default_rng(1), np.arange(2)[:, None]
    for _ in range(200):
        rows = rng.integers(600, size=(2, 64))
        batch = mtopt.Batch(x[tasks, rows], y[tasks, rows], np.ones((2, 64), bool))
        state, _ = step(state, batch)
    found = model.predict(state.params, state.model_state, x[:, 600:]).argmax(-1)
    accuracy = (found == y[:, 600:]).mean(axis=1)
    assert (accuracy > 0.75).all()
