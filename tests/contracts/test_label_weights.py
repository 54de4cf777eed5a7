"""Weights of labels: one of weight 2 is the label twice, wherever parts are summed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit
from mtopt.micro_batches import MicroBatches
from tests.helpers import on_devices, problems
from tests.helpers.close import assert_close

K, B = 3, 8
COUNTS = np.random.default_rng(3).integers(0, 4, (K, B))
COUNTS[:, 0] = [1, 2, 3]


def weighted(x_axis, weights=COUNTS, dtype=np.float64):
    tasks, params, batch = problems.classification(K, B, 5, (4,), 2, x_axis, 0.2)
    params, batch = jax.tree.map(np.asarray, (params, batch))
    mask = np.where(batch.mask, weights, 0).astype(dtype)
    params, x = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (params, batch.x))
    return tasks, params, mtopt.Batch(x, batch.y, mask, tasks.names)


def repeated(batch, x_axis):
    """The batch with every label as many times as it weighs."""
    counts = batch.mask.astype(int)
    if x_axis is not None:
        rows = [np.repeat(np.arange(B), own) for own in counts]
        pairs = {n: (batch.x[k][r], batch.y[k][r]) for k, (n, r) in named(batch, rows)}
        return mtopt.Batch.disjoint(pairs)
    most = counts.max()
    mask = np.concatenate([counts > copy for copy in range(most)], axis=1)
    x, y = np.tile(batch.x, (most, 1)), np.tile(batch.y, (1, most))
    return mtopt.Batch(x, y, mask, batch.names)


def named(batch, rows):
    return enumerate(zip(batch.names, rows, strict=True))


def answers(tasks, params, batch, parts=1):
    """All that a method may ask a problem for."""

    @jax.jit
    def found(params, batch):
        problem = tasks.problem(batch, jax.random.key(0))
        if parts > 1:
            problem = MicroBatches.of(problem, parts)
        return {
            "labels": problem.labels,
            "rows": problem.losses_and_grads(params),
            "pullback": problem.pullback(params, jnp.arange(1.0, K + 1)),
            "at_mean": problem.losses_at_mean(params) if parts == 1 else (),
        }

    return found(params, batch)


@pytest.mark.parametrize("x_axis", [None, 0])
def test_a_label_of_weight_two_is_the_label_twice(x_axis):
    with jax.enable_x64(True):
        tasks, params, batch = weighted(x_axis)
        found = answers(tasks, params, batch)
        twice = answers(tasks, params, repeated(batch, x_axis))
        assert_close(found, twice, rtol=1e-12)


@pytest.mark.parametrize("x_axis", [None, 0])
def test_micro_batches_are_summed_by_the_weights_of_their_labels(x_axis):
    with jax.enable_x64(True):
        weights = COUNTS * 0.37
        weights[1, ::2] = 0  # one of two parts has nothing of this task
        tasks, params, batch = weighted(x_axis, weights)
        whole, parts = (answers(tasks, params, batch, n) for n in (1, 2))
        del whole["at_mean"], parts["at_mean"]
        assert_close(parts, whole, rtol=1e-12)


@pytest.mark.parametrize("x_axis", [None, 0])
def test_equal_weights_change_nothing(x_axis):
    with jax.enable_x64(True):
        tasks, params, batch = weighted(x_axis, 0.37)
        plain = dataclasses.replace(batch, mask=batch.mask > 0)
        found, expected = (answers(tasks, params, own) for own in (batch, plain))
        del found["labels"], expected["labels"]
        assert_close(found, expected, rtol=1e-12)


def test_a_task_whose_labels_weigh_nothing_is_absent():
    tasks, params, batch = weighted(None, dtype=np.float32)
    mask = batch.mask * np.array([[1], [0], [1]], np.float32)
    y = np.where(mask > 0, batch.y, 10**6)
    problem = tasks.problem(
        dataclasses.replace(batch, mask=mask, y=y), jax.random.key(0)
    )
    losses, grads = problem.losses_and_grads(params)
    assert problem.present.tolist() == [True, False, True]
    assert losses[1] == 0
    assert np.isfinite(losses).all()
    assert all((leaf[1] == 0).all() for leaf in jax.tree.leaves(grads["shared"]))


@pytest.mark.parametrize("x_axis", [None, 0])
def test_parts_that_are_dealt_keep_the_weights(x_axis):
    tasks, _, batch = weighted(x_axis, 0.5 + COUNTS, np.float32)
    parts = tasks.problem(batch, jax.random.key(0)).split(2)
    dealt = [np.asarray(part.batch.mask) for part in parts]
    for k in range(K):
        found = np.concatenate([own[k][own[k] > 0] for own in dealt])
        expected = batch.mask[k][batch.mask[k] > 0]
        np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_what_outlier_weights_remember_is_weighted():
    with jax.enable_x64(True):
        tasks, params, batch = weighted(0)
        tx = mtopt.outlier_weighted(mtopt.equal_weighting(K))

        def memory(batches):
            step = mtopt.make_train_step(tasks, mtopt.chain(tx, optax.sgd(0.1)))
            state = mtopt.TrainState.create(
                params, mtopt.chain(tx, optax.sgd(0.1)), jax.random.key(0)
            )
            for each in batches:
                state, _ = step(state, each)
            get = optax.tree.get
            return [
                get(state.opt_state, name)
                for name in ("num_labels", "mean_losses", "losses_at_mean")
            ]

        other = dataclasses.replace(batch, mask=batch.mask[:, ::-1].copy())
        two = [batch, other]
        assert_close(memory(two), memory([repeated(own, 0) for own in two]), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shared", "disjoint"])
def test_weights_on_several_devices_are_those_of_one(kind):
    on_devices.call(
        on_devices.equal_steps,
        kind=kind,
        grids=[(2, 2, "copied")],
        methods=["mgda"],
        weighted=True,
    )


def test_weights_of_zero_and_one_are_a_mask_and_others_are_floats():
    y = {"a": np.array([0.0, np.nan, 2.0]), "b": np.array([1.0, 1.0, 0.0])}
    batch = mtopt.Batch.shared(np.ones((3, 2)), y, {"a": [2, 1, 0.5], "b": [1, 0, 1]})
    assert batch.mask.tolist() == [[2, 0, 0.5], [1, 0, 1]]
    one = mtopt.Batch.shared(np.ones((3, 2)), y, {"a": [1.0, 1, 0], "b": [1, 0, 1]})
    assert one.mask.dtype == bool
    own = mtopt.Batch.disjoint(
        {"a": (np.ones((2, 2)), y["a"][:2]), "b": (np.ones((3, 2)), y["b"])},
        {"b": np.array([3, 1, 2])},
    )
    assert own.mask.tolist() == [[1, 0, 0], [3, 1, 2]]


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, -2, 1j])
def test_what_is_no_weight_is_one_clear_line(wrong):
    message = r"the mask of task 'a' holds .*: expected True where .* at least 0"
    with pytest.raises(mtopt.UserError, match=message) as error:
        mtopt.Batch.shared(np.ones((2, 2)), {"a": np.ones(2)}, {"a": [1, wrong]})
    assert "\n" not in str(error.value)


def test_a_mean_of_small_weights_is_a_mean():
    values = jnp.array([1.0, 3.0, jnp.nan])
    found = mtopt.masked_mean(values, jnp.array([1e-6, 3e-6, 0.0]))
    np.testing.assert_allclose(found, 2.5, rtol=1e-6)
    assert mtopt.masked_mean(values, jnp.zeros(3)) == 0


@pytest.mark.parametrize("x_axis", [None, 0])
def test_batches_of_a_split_hold_the_weights_of_their_samples(x_axis):
    weights = np.arange(2, 2 + B, dtype=np.float32)
    pairs = {"a": (weights[:, None], weights), "b": (weights[:, None], 2 * weights)}
    if x_axis is None:
        y = {name: own for name, (_, own) in pairs.items()}
        samples = mtopt.Batch.shared(weights[:, None], y, {"a": weights, "b": weights})
    else:
        samples = mtopt.Batch.disjoint(pairs, {"a": weights, "b": weights})
    split = ArraySplit(samples, x_axis)
    assert split.labels.tolist() == [B, B]
    batches = [next(split.batches(4, seeds=(0,))), *split.in_order(5)]
    for batch in jax.tree.map(np.asarray, batches):
        x = batch.x[..., 0] if x_axis is not None else batch.x[..., None, :, 0]
        np.testing.assert_array_equal(
            batch.mask,
            np.where(batch.mask > 0, np.broadcast_to(x, batch.mask.shape), 0),
        )
    assert sum(float(own.mask.sum()) for own in batches[1:]) == 2 * weights.sum()
