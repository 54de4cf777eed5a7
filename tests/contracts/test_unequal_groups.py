"""Losses and gradients of groups of unequal kinds that have inputs of their own."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
import scipy.special

import mtopt
from tests.helpers import unequal_groups as groups
from tests.helpers.close import assert_close

PLACES = {
    name: (i, k)
    for i, names in enumerate(groups.GROUPS.values())
    for k, name in enumerate(names)
}


@jax.jit
def evaluated(batch):
    """Losses, rows and gradients of the heads by name."""
    problem = groups.tasks(kinds_of(batch)).problem(batch, groups.KEY)
    losses, grads = problem.losses_and_grads(groups.params(kinds_of(batch)))
    heads = {name: own[name] for own in grads["tasks"] for name in own.names}
    rows = dict(zip(problem.names, grads["shared"], strict=True))
    return dict(zip(problem.names, losses, strict=True)), rows, heads


def kinds_of(batch):
    return tuple(kind for kind, names in groups.GROUPS.items() if names in batch.names)


def on_the_kept(batch, name):
    """The loss of one task by NumPy, on the samples that have its label alone."""
    i, k = PLACES[name]
    params, kept = groups.params(), batch.mask[i][k]
    x = batch.x[i] if groups.X_AXIS[tuple(groups.GROUPS)[i]] is None else batch.x[i][k]
    outputs = np.tanh(x[kept] @ np.asarray(params["shared"]))
    outputs, y = outputs @ np.asarray(params["tasks"][i][name]), batch.y[i][k][kept]
    if i == 0:
        log_p = scipy.special.log_softmax(outputs, axis=1)
        return -log_p[np.arange(len(y)), y].mean()
    return ((outputs - y) ** 2 if i == 1 else abs(outputs - y)).mean()


def test_a_masked_loss_is_the_loss_on_the_kept_samples():
    batch = groups.batch()
    losses, _, _ = evaluated(batch)
    assert list(losses) == sorted(PLACES)
    for name, loss in losses.items():
        np.testing.assert_allclose(loss, on_the_kept(batch, name), rtol=1e-5)


def test_doubling_the_samples_changes_no_loss():
    once, twice = (
        evaluated(own) for own in (groups.batch(), groups.doubled(groups.batch()))
    )
    assert_close(twice, once, rtol=1e-6)


@pytest.mark.parametrize("kind", groups.GROUPS)
def test_a_source_without_labels_leaves_all_else_bit_for_bit(kind):
    """As in a step without it; what it holds is read by nobody."""
    names = groups.GROUPS[kind]
    expected = evaluated(
        groups.batch(tuple(own for own in groups.GROUPS if own != kind))
    )
    lacking = groups.lacking(groups.batch(), names)
    for batch in (lacking, groups.spoilt(lacking, np.nan)):
        for found, wanted in zip(evaluated(batch), expected, strict=True):
            assert not any(found.pop(name).any() for name in names)
            jax.tree.map(np.testing.assert_array_equal, found, wanted)


@functools.cache
def one_step(on_nonfinite):
    tx = mtopt.chain(mtopt.mgda(len(PLACES)), optax.adam(0.1))
    step = mtopt.make_train_step(
        groups.tasks(), tx, on_nonfinite=on_nonfinite, donate=False
    )
    state = mtopt.TrainState.create(groups.params(), tx, groups.KEY)
    return functools.partial(step, state)


@pytest.mark.parametrize("kind", groups.GROUPS)
def test_a_source_that_is_not_finite_is_skipped_and_the_others_are_trained(kind):
    names, batch = groups.GROUPS[kind], groups.batch()
    own = list(groups.GROUPS).index(kind)
    x = [np.where(i == own, np.nan, x) for i, x in enumerate(batch.x)]
    x = tuple(each.astype("float32") for each in x)
    found, metrics = one_step("skip_task")(dataclasses.replace(batch, x=x))
    expected, _ = one_step(None)(groups.lacking(batch, names))
    assert not metrics["skipped"]
    assert (metrics["nonfinite"] == np.isin(groups.NAMES, names)).all()
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_the_statistics_of_a_source_stay_where_it_has_no_label():
    def encode(shared, x, key, model_state, labelled):
        mean = (x * labelled[:, None]).sum(0) / labelled.sum()
        return (x - mean[None]) @ shared, 0.9 * model_state + 0.1 * mean

    tasks = mtopt.TaskGroups(
        tuple(
            mtopt.Tasks((name,), encode, groups.squared_loss, stateful=True)
            for name in "ab"
        ),
        shared_inputs=False,
    )
    x, y = np.full((2, 3), 2, "float32"), np.ones((1, 2), "float32")
    heads = tuple(mtopt.PerTask(np.ones((1, 4), "float32"), (name,)) for name in "ab")
    params = jax.device_put({"shared": np.ones((3, 4), "float32"), "tasks": heads})
    start = (np.ones(3, "float32"),) * 2
    for value in (2, np.nan):
        masks = np.ones((1, 2), bool), np.zeros((1, 2), bool)
        batch = mtopt.Batch((x, x + value), (y, y), masks)
        problem = tasks.problem(batch, groups.KEY, start)
        seen, unseen = jax.jit(problem.next_model_state)(params)
        np.testing.assert_allclose(seen, np.full(3, 1.1), rtol=1e-6)
        np.testing.assert_array_equal(unseen, start[1])
