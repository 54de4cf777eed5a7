"""One batch that is not finite: guarded, the run goes on as if it had not been."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.nonfinite import heads_not_finite
from tests.helpers import problems
from tests.helpers.compilations import compiled_once
from tests.helpers.methods import SOME, make, over

K = 3
ALL = set(mtopt.METHODS)


@functools.cache
def problem(x_axis=None):
    return problems.classification(K, 6, 5, (4,), 2, x_axis)


def start(tx, params):
    return mtopt.TrainState.create(params, tx, jax.random.key(0))


def poisoned(batch, x_axis, task=None):
    """The batch with an infinite input: of one task, or of all."""
    place = (task, 0) if x_axis == 0 else (0,)
    x = jnp.asarray(batch.x).at[place].set(jnp.inf)
    return dataclasses.replace(batch, x=x)


def assert_equal(first, second):
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    for a, b in leaves:
        np.testing.assert_array_equal(a, b)


def without_guard(state):
    key = jax.random.key_data(state.key)
    return dataclasses.replace(state, nonfinite=None, key=key)


@over(ALL, slow=ALL - SOME)
def test_the_run_goes_on_as_if_the_batch_had_not_been_drawn(name):
    tasks, params, batch = problem()
    tx = mtopt.chain(make(name, K), optax.adam(0.1))
    step = compiled_once(
        mtopt.make_train_step(tasks, tx, on_nonfinite="skip_step", donate=False)
    )
    state, _ = step(start(tx, params), batch)
    skipped, metrics = step(state, poisoned(batch, None))
    assert metrics["skipped"]
    assert_equal(without_guard(skipped), without_guard(state))
    assert (skipped.nonfinite.skipped, skipped.nonfinite.first) == (1, 1)
    assert skipped.nonfinite.first_tasks.all()
    again, metrics = step(skipped, batch)
    assert not metrics["skipped"]
    assert_equal(without_guard(again), without_guard(step(state, batch)[0]))


def guarded(on_nonfinite, batches, x_axis=0, tx=None, params=None):
    tasks, first, _ = problem(x_axis)
    tx = tx or mtopt.chain(mtopt.mgda(K), optax.adam(0.1))
    step = mtopt.make_train_step(tasks, tx, on_nonfinite=on_nonfinite)
    state = start(tx, first if params is None else params)
    for batch in batches:
        state, metrics = step(state, batch)
    return state, metrics


def test_a_bad_task_is_absent_and_the_others_are_trained():
    _, _, batch = problem(0)
    present = np.array([True, False, True])[:, None] & np.asarray(batch.mask)
    absent = dataclasses.replace(batch, mask=present)
    expected, _ = guarded(None, [absent])
    found, metrics = guarded("skip_task", [poisoned(batch, 0, task=1)])
    assert metrics["nonfinite"].tolist() == [False, True, False]
    assert metrics["present"].tolist() == [True, False, True]
    assert not metrics["skipped"]
    assert_equal(found.params, expected.params)
    assert_equal(found.opt_state, expected.opt_state)
    assert found.nonfinite.batches.tolist() == [0, 1, 0]
    with pytest.raises(mtopt.UserError, match="'task_001' is not finite at step 1"):
        mtopt.check_finite(found.nonfinite, problem(0)[0].names)


def test_a_diverged_head_does_not_stop_the_others():
    tasks, params, batch = problem(None)
    values = jax.tree.map(lambda leaf: leaf.at[2].set(jnp.nan), params["tasks"].values)
    broken = {**params, "tasks": mtopt.PerTask(values, tasks.names)}
    state, metrics = guarded("skip_task", [batch], None, params=broken)
    assert metrics["present"].tolist() == [True, True, False]
    assert jnp.isfinite(state.params["shared"][0]["w"]).all()
    assert (state.params["shared"][0]["w"] != params["shared"][0]["w"]).any()


def test_where_all_tasks_are_bad_no_step_is_taken():
    _, params, batch = problem(None)
    state, metrics = guarded("skip_task", [poisoned(batch, None)], None)
    assert metrics["skipped"]
    assert_equal(state.params, params)
    assert state.step == 0


def explodes():
    """An optimizer whose third update is infinite, on finite gradients."""

    def update(updates, count, params=None):
        factor = jnp.where(count == 2, jnp.inf, 1.0)
        return jax.tree.map(lambda leaf: leaf * factor, updates), count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), int), update)


def test_an_update_that_is_not_finite_is_noticed_too():
    _, _, batch = problem()
    tx = mtopt.chain(mtopt.equal_weighting(K), explodes())
    state, _ = guarded("raise", [batch] * 4, None, tx)
    assert (state.step, state.nonfinite.first) == (2, 2)
    assert state.nonfinite.skipped == 2  # the count that explodes does not go on
    with pytest.raises(
        mtopt.UserError, match=r"update is not finite at step 3 \(seed 7"
    ):
        mtopt.check_finite(state.nonfinite, problem()[0].names, "seed 7")


def test_nothing_is_said_where_all_is_finite():
    state, metrics = guarded("raise", [problem(0)[2]])
    mtopt.check_finite(state.nonfinite, problem(0)[0].names)
    assert not metrics["nonfinite"].any()


def test_another_word_is_an_error():
    with pytest.raises(mtopt.UserError, match="skip_step"):
        mtopt.make_train_step(problem()[0], mtopt.mgda(K), on_nonfinite="skip")


def squared_sum(head, z, y, mask, key):
    del key
    return mtopt.masked_mean(
        ((z @ head).reshape(len(y), -1).sum(axis=1) - y) ** 2, mask
    )


def test_groups_of_heads_are_told_apart():
    """Two tasks with matrices and one with a vector: each has its own gradients."""
    flat, wide = (
        mtopt.Tasks(names, problems.tanh_encode, squared_sum)
        for names in (("b",), ("a", "c"))
    )
    tasks = mtopt.TaskGroups((flat, wide), shared_inputs=True)
    heads = (
        mtopt.PerTask(jnp.ones((1, 5)), flat.names),
        mtopt.PerTask(jnp.ones((2, 5, 3)).at[1].set(jnp.nan), wide.names),
    )
    assert heads_not_finite(heads).tolist() == [False, False, True]
    y = jnp.ones((1, 4)), jnp.ones((2, 4))
    batch = mtopt.Batch(jnp.ones((4, 2)), y, jax.tree.map(jnp.bool_, y))
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.sgd(0.1))
    step = mtopt.make_train_step(tasks, tx, on_nonfinite="skip_task")
    params = {"shared": jnp.ones((2, 5)), "tasks": heads}
    _, metrics = step(start(tx, params), batch)
    assert metrics["nonfinite"].tolist() == [False, False, True]
    assert metrics["present"].tolist() == [True, True, False]
