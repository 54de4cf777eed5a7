"""What a step's gradients are like, against an independent reference in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt import analysis
from tests.helpers import unequal_groups
from tests.helpers.models import make_batch, tiny
from tests.helpers.problems import squared_loss

NAMES = ("a", "b", "c", "d")
SAMPLES, INPUTS, WIDTH = 12, 5, 3


def encode(shared, x, key):
    return x @ shared


def linear(x_axis):
    """A linear problem; labels are missing, and the third task has none at all."""
    rng = np.random.default_rng(0)
    lead = () if x_axis is None else (4,)
    mask = rng.random((4, SAMPLES)) < 0.7
    mask[2] = False
    arrays = {
        "x": rng.normal(size=(*lead, SAMPLES, INPUTS)),
        "y": np.where(mask, rng.normal(size=(4, SAMPLES)), np.nan),
        "shared": rng.normal(size=(INPUTS, WIDTH)),
        "heads": rng.normal(size=(4, WIDTH)) * [[1], [4], [1], [1]],
    }
    return arrays, mask


def linear_rows(arrays, mask):
    """Of the mean squared errors, in float64."""
    rows = []
    for k in range(4):
        x = arrays["x"] if arrays["x"].ndim == 2 else arrays["x"][k]
        x, y = x[mask[k]], arrays["y"][k][mask[k]]
        head = arrays["heads"][k]
        rest = x @ arrays["shared"] @ head - y
        count = max(len(y), 1)
        rows.append(2 / count * np.outer(x.T @ rest, head).ravel())
    return np.array(rows)


def expected(rows, way=None):
    """All diagnostics but the weights, from singular values."""
    norm = np.linalg.norm(rows, axis=1)
    there = norm > 0
    units = rows / np.where(there, norm, 1)[:, None]
    cosine = units @ units.T
    alike = np.array(
        [[2 * a * b / (a * a + b * b) if a * b else 0 for b in norm] for a in norm]
    )
    above = [
        cosine[i, j] < 0
        for i in range(len(rows))
        for j in range(i)
        if there[i] and there[j]
    ]
    values = np.linalg.svd(rows[there], compute_uv=False)
    found = {
        "norm": norm,
        "cosine": cosine,
        "magnitude_similarity": alike,
        "conflict_share": np.mean(above),
        "condition": (values[0] / values[-1]) ** 2,
        "rank": np.linalg.matrix_rank(units),
    }
    if way is not None:
        found["descent"] = units @ way / np.linalg.norm(way)
    return found


def assert_equal(found, wanted, rtol=2e-4):
    for name, value in wanted.items():
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=rtol, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("x_axis", [None, 0])
def test_they_are_those_of_the_numbers_in_float64(x_axis):
    arrays, mask = linear(x_axis)
    tasks = mtopt.Tasks(NAMES, encode, squared_loss, x_axis)
    tx = mtopt.chain(mtopt.upgrad(4), optax.adam(0.1))

    @jax.jit
    def step(params, batch):
        evaluation = tasks.problem(batch, jax.random.key(0)).evaluate(params)
        updates, state = tx.update(
            evaluation.gradients, tx.init(params), params, evaluation=evaluation
        )
        return analysis.diagnostics(evaluation, updates, state), updates, state

    narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32), arrays)
    params = {
        "shared": narrow["shared"],
        "tasks": mtopt.PerTask(narrow["heads"], NAMES),
    }
    found, updates, state = step(params, mtopt.Batch(narrow["x"], narrow["y"], mask))
    way = -np.asarray(updates["shared"], np.float64).ravel()
    wanted = expected(linear_rows(arrays, mask), way)
    assert_equal(found, wanted, rtol=2e-3)
    assert wanted["rank"] == 3
    assert wanted["norm"][2] == 0
    assert wanted["norm"][1] > 3 * wanted["norm"][0]
    np.testing.assert_array_equal(found.weights, optax.tree.get(state, "weights"))


def separately(problem, params):
    """The rows, each from the losses alone."""

    def losses(shared):
        return problem.losses(params | {"shared": shared})

    jacobian = jax.jit(jax.jacrev(losses))(params["shared"])
    return np.asarray(jacobian, np.float64).reshape(len(jacobian), -1)


def test_groups_of_tasks_are_seen_together():
    params = unequal_groups.params()
    problem = unequal_groups.tasks().problem(unequal_groups.batch(), jax.random.key(0))
    found = jax.jit(lambda: analysis.diagnostics(problem.evaluate(params)))()
    assert_equal(found, expected(separately(problem, params)))
    assert found.weights is None
    assert found.descent is None


@pytest.mark.parametrize("x_axis", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_statistics_of_the_batch_have_their_part(x_axis):
    model = tiny("resnet18", x_axis=x_axis)
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch((8, 8, 1), "classification", 3, x_axis=x_axis)
    problem = model.tasks.problem(batch, jax.random.key(1), state)
    found = jax.jit(lambda: analysis.diagnostics(problem.evaluate(params)))()
    rows = jax.jit(lambda: problem.losses_and_grads(params)[1]["shared"])()
    flat = [
        np.asarray(leaf, np.float64).reshape(3, -1) for leaf in jax.tree.leaves(rows)
    ]
    assert_equal(found, expected(np.concatenate(flat, axis=1)), rtol=2e-3)


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
def test_no_scale_of_the_losses_is_too_small_or_too_large(scale):
    rows = np.random.default_rng(1).normal(size=(3, 7))
    # The third is a combination of the others.
    rows[2] = rows[0] - 2 * rows[1]
    found = analysis.diagnostics(mtopt.Evaluation(rows=jnp.asarray(scale * rows, "f4")))
    wanted = expected(rows)
    np.testing.assert_allclose(found.norm, scale * wanted["norm"], rtol=1e-5)
    np.testing.assert_allclose(found.cosine, wanted["cosine"], atol=1e-5)
    assert (int(found.rank), float(found.condition)) == (2, np.inf)
    two = analysis.diagnostics(
        mtopt.Evaluation(rows=jnp.asarray(scale * rows[:2], "f4"))
    )
    np.testing.assert_allclose(
        two.condition, expected(rows[:2])["condition"], rtol=1e-4
    )


def test_the_scale_of_one_loss_leaves_the_rank_alone():
    rows = jnp.diag(jnp.array([1.0, 1e-6, 1e6]))
    found = analysis.diagnostics(mtopt.Evaluation(rows=rows))
    assert int(found.rank) == 3
    assert np.isinf(found.condition)  # 1e24 is beyond float32's digits
    near = analysis.diagnostics(mtopt.Evaluation(rows=jnp.diag(jnp.array([1.0, 30.0]))))
    np.testing.assert_allclose(near.condition, 900, rtol=1e-5)


def test_an_absent_task_has_no_part_whatever_stands_in_its_row():
    rows = jnp.array([[1.0, 0.0], [jnp.nan, jnp.inf], [-1.0, 1.0]])
    present = jnp.array([True, False, True])
    found = analysis.diagnostics(
        mtopt.Evaluation(rows=rows, present=present), jnp.array([-1.0, 0.0])
    )
    assert_equal(
        found, expected(np.array([[1.0, 0], [0, 0], [-1, 1]]), np.array([1, 0]))
    )
    assert float(found.conflict_share) == 1


def test_of_one_task_and_of_none_with_a_gradient():
    one = analysis.diagnostics(mtopt.Evaluation(rows=jnp.array([[3.0, 4.0]])))
    assert (float(one.norm[0]), float(one.condition), int(one.rank)) == (5, 1, 1)
    assert np.isnan(one.conflict_share)
    none = analysis.diagnostics(mtopt.Evaluation(rows=jnp.zeros((2, 3))), jnp.zeros(3))
    assert np.isnan(none.condition)
    assert int(none.rank) == 0
    assert none.descent.tolist() == [0, 0]


def test_tasks_that_share_nothing_have_no_gradient():
    tasks = mtopt.Tasks(("a", "b"), lambda shared, x, key: x, squared_loss)
    params = {"shared": {}, "tasks": mtopt.PerTask(jnp.ones((2, 3)), ("a", "b"))}
    batch = mtopt.Batch(jnp.ones((4, 3)), jnp.zeros((2, 4)), jnp.ones((2, 4), bool))
    evaluation = tasks.problem(batch, jax.random.key(0)).evaluate(params)
    updates = jax.tree.map(lambda leaf: -leaf, params)
    found = analysis.diagnostics(evaluation, updates)
    assert found.norm.tolist() == [0, 0]
    assert found.descent.tolist() == [0, 0]


def test_complex_entries_count_as_two():
    rows = jnp.array([[1.0 + 1.0j], [1.0 - 2.0j]])
    way = jnp.array([-2.0 + 0.0j])
    found = analysis.diagnostics(mtopt.Evaluation(rows=rows), way)
    wanted = expected(np.array([[1.0, 1.0], [1.0, -2.0]]), np.array([2.0, 0.0]))
    assert_equal(found, wanted)


def test_below_a_descent_of_zero_a_loss_rises():
    """Three pull one way, the fourth the other: the mean goes against it."""
    arrays, mask = linear(None)
    tasks = mtopt.Tasks(NAMES, encode, squared_loss)
    heads = np.tile(arrays["heads"][:1], (4, 1)).astype("f4")
    params = {
        "shared": arrays["shared"].astype("f4"),
        "tasks": mtopt.PerTask(heads, NAMES),
    }
    y = np.stack([9, 9, 9, -9] * np.ones((SAMPLES, 1))).T.astype("f4")
    batch = mtopt.Batch(arrays["x"].astype("f4"), y, mask | True)
    problem = tasks.problem(batch, jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(4), optax.sgd(1e-4))
    evaluation = problem.evaluate(params)
    updates, _ = tx.update(
        evaluation.gradients, tx.init(params), params, evaluation=evaluation
    )
    found = analysis.diagnostics(evaluation, updates)
    moved = params | {"shared": params["shared"] + updates["shared"]}
    rises = np.asarray(problem.losses(moved) > evaluation.losses)
    assert rises.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(rises, np.asarray(found.descent) < 0)


def test_rows_without_a_task_axis_are_an_error_in_one_line():
    with pytest.raises(mtopt.UserError, match="rows of 1 tasks"):
        analysis.diagnostics(mtopt.Evaluation(rows=jnp.ones(())))
    with pytest.raises(mtopt.UserError, match="rows"):
        analysis.diagnostics(mtopt.Evaluation(losses=jnp.ones(2)))
