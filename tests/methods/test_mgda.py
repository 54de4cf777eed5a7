"""MGDA: its weights, its normalisations, and its upper bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.updates import GOLDEN, solve

min_norm_weights = jax.jit(mtopt.solvers.min_norm_weights)


def test_golden_values():
    direction, state = solve(mtopt.mgda(2), GOLDEN)
    np.testing.assert_allclose(direction, [0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(state.weights, [0.6, 0.4], atol=1e-5)


@pytest.mark.parametrize(
    ("jacobian", "weights"),
    [
        ([[1, 0], [0, 1]], [0.5, 0.5]),
        ([[1, 0], [2, 0]], [1, 0]),
        (np.diag([1, 2, 3]), [0.734694, 0.183673, 0.081633]),
        ([[3, 4], [-4, 3]], [0.5, 0.5]),
        ([[0.9, 0.4], [-0.4, 0.6]], [0.369942, 0.630058]),
    ],
)
def test_mgda_of_the_fixtures(jacobian, weights):
    _, state = solve(mtopt.mgda(len(jacobian)), jnp.array(jacobian, jnp.float32))
    np.testing.assert_allclose(state.weights, weights, atol=1e-5)


def test_two_unit_gradients_are_weighed_alike():
    _, state = solve(mtopt.mgda(2, normalize="l2"), GOLDEN)
    np.testing.assert_allclose(state.weights, [0.5, 0.5], atol=1e-6)
    rows = jnp.diag(jnp.array([1.0, 2.0, 3.0]))
    _, state = solve(mtopt.mgda(3, normalize="l2"), rows)
    np.testing.assert_allclose(state.weights, [1 / 3] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("normalize", "apply_to"),
    [
        *(("loss", "original"), ("l2", "normalized")),
        *(("loss+", "original"), ("loss+", "normalized")),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *(("none", "original"), ("none", "normalized")),
                *(("l2", "original"), ("loss", "normalized")),
            )
        ),
    ],
)
def test_normalisations_solve_on_scaled_rows(normalize, apply_to):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 7)).astype("float32")
    losses = np.array([0.5, 2.0, 3.0, 0.1], "float32")
    norms = np.linalg.norm(rows, axis=1)
    scale = {
        "none": np.ones(4, "float32"),
        "l2": norms,
        "loss": losses,
        "loss+": losses * norms,
    }[normalize]
    scaled = rows / scale[:, None]
    weights = np.asarray(min_norm_weights(scaled @ scaled.T))
    expected = weights @ (rows if apply_to == "original" else scaled)
    tx = mtopt.mgda(4, normalize=normalize, apply_to=apply_to)
    direction, _ = solve(tx, rows, losses=losses)
    np.testing.assert_allclose(direction, expected, rtol=1e-3, atol=1e-4)


def test_what_a_normalisation_needs_is_named():
    with pytest.raises(mtopt.UserError, match="reads losses"):
        solve(mtopt.mgda(2, normalize="loss"), GOLDEN)
    with pytest.raises(mtopt.UserError, match="reads problem"):
        solve(mtopt.mgda(2, space="representation"), GOLDEN)


def test_a_duplicated_task_changes_nothing():
    rng = np.random.default_rng(1)
    rows = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    once, _ = solve(mtopt.mgda(3), rows)
    twice, _ = solve(mtopt.mgda(4), jnp.concatenate([rows, rows[:1]]))
    np.testing.assert_allclose(once, twice, atol=1e-5)


def test_a_task_at_rest_stops_mgda_and_an_absent_one_does_not():
    rows = jnp.array([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]])
    direction, state = solve(mtopt.mgda(3), rows)
    np.testing.assert_array_equal(direction, 0)
    assert state.weights.tolist() == [0, 1, 0]
    present = jnp.array([True, False, True])
    direction, _ = solve(mtopt.mgda(3), rows, present=present)
    alone, _ = solve(mtopt.mgda(2), rows[jnp.array([0, 2])])
    np.testing.assert_allclose(direction, alone, atol=1e-6)
    assert np.linalg.norm(direction) > 1


def test_the_upper_bound_weighs_by_the_representation():
    tasks, params, batch = problems.classification(3, 16, 5, (7,), 4, None)
    problem = tasks.problem(batch, jax.random.key(0))
    tx = mtopt.mgda(3, space="representation")

    @jax.jit
    def answers(params):
        seen = problem.evaluate(params)
        updates, state = tx.update(
            seen.gradients, tx.init(params), params, evaluation=seen
        )
        products = seen.representation_gramian()
        return seen.gradients, updates, state, mtopt.solvers.min_norm_weights(products)

    grads, updates, state, expected = answers(params)
    np.testing.assert_allclose(state.weights, expected, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        updates["shared"],
        mtopt.combine(state.weights, grads["shared"]),
    )


@pytest.mark.parametrize("heads", ["weighted", "plain"])
def test_the_head_rule(heads):
    tasks, params, batch = problems.classification(3, 16, 5, (7,), 4, None)
    problem = tasks.problem(batch, jax.random.key(0))
    tx = mtopt.mgda(3, heads=heads)

    @jax.jit
    def answers(params):
        _, grads = problem.losses_and_grads(params)
        return grads, *tx.update(grads, tx.init(params), params)

    grads, updates, state = answers(params)
    scale = state.weights if heads == "weighted" else jnp.ones(3)
    jax.tree.map(
        lambda update, grad: np.testing.assert_allclose(
            update, grad * scale.reshape(-1, *(1,) * (grad.ndim - 1)), rtol=1e-5
        ),
        updates["tasks"].values,
        grads["tasks"].values,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mtopt.mgda(0), "num_tasks is 0"),
        (lambda: mtopt.mgda(2, heads="none"), "heads is 'none'"),
        (lambda: mtopt.mgda(2, space="features"), "space is 'features'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
