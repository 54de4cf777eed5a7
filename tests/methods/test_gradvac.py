"""GradVac, against loops over the gradients themselves in float64."""

import jax
import numpy as np
import pytest

import mtopt
from mtopt.methods.gradvac import gradvac
from mtopt.methods.pcgrad import pcgrad, visiting_orders
from tests.helpers.close import assert_close
from tests.helpers.gradients import cosines, rows
from tests.helpers.updates import GOLDEN, solve


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (gradvac(2), GOLDEN, [2.2222, 1.5789], [0.5848, 3.8012, 3.8012]),
    ],
    ids=[
        "gradvac",
    ],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


def turned(jacobian, target, orders):
    """GradVac on the vectors themselves, and the cosines that it met."""
    result, met = jacobian.copy(), np.zeros_like(target)
    for i, order in enumerate(orders):
        for j in order:
            if j == i:
                continue
            g, h, goal = result[i], jacobian[j], target[i, j]
            phi = g @ h / np.linalg.norm(g) / np.linalg.norm(h)
            met[i, j] = phi
            if phi < goal:
                sines = goal * np.sqrt(1 - phi**2) - phi * np.sqrt(1 - goal**2)
                size = np.linalg.norm(g) / np.linalg.norm(h)
                result[i] = g + size * sines / np.sqrt(1 - goal**2) * h
    return result.sum(axis=0), met


@pytest.mark.parametrize("targets", ["all", "turned"])
def test_gradvac_over_steps_with_an_absent_task(x64, targets):
    tx = gradvac(5, beta=0.5, targets=targets)
    update, state, target = jax.jit(tx.update), tx.init(np.zeros(7)), np.zeros((5, 5))
    for step in range(4):
        # Gradients that agree at first, so that the targets rise above 0.
        jacobian = rows(5, 7, step, mean=1.5 - step)
        present = np.array([True, True, step != 1, True, True])
        here, key = np.flatnonzero(present), jax.random.key(step)
        orders = np.asarray(visiting_orders("per_task", 5, key))
        orders = [[np.searchsorted(here, j) for j in o if j in here] for o in orders]
        orders = [orders[i] for i in here]
        among = np.ix_(here, here)
        expected, met = turned(jacobian[here], target[among], orders)
        follows = ~np.eye(len(here), dtype=bool)
        if targets == "turned":
            follows &= met < target[among]
        target[among] = np.where(
            follows, 0.5 * target[among] + 0.5 * met, target[among]
        )
        direction, state = update(
            jacobian, state, evaluation=mtopt.Evaluation(key=key, present=present)
        )
        assert_close(direction, expected, rtol=1e-10)
        np.testing.assert_allclose(state.memory[0], target, atol=1e-12)
    assert (target.max() > 0.1) == (targets == "all")


def test_gradvac_reaches_the_target_and_is_pcgrad_at_zero(x64):
    jacobian, key = rows(5, 7), jax.random.key(0)
    tx = gradvac(5)
    _, state = solve(tx, jacobian, key=key)
    direction, _ = solve(pcgrad(5), jacobian, key=key)
    assert_close(state.weights @ jacobian, direction, rtol=1e-12)
    goal = np.array([[0.0, 0.7], [-1.0, 0.0]])  # the first turns, the second does not
    pair = np.asarray(GOLDEN, float)
    state = gradvac(2).init(np.zeros(3))
    state = state._replace(memory=(goal, state.memory[1]))
    _, state = jax.jit(gradvac(2).update)(pair, state)
    first = pair[0] + (float(state.weights[1]) - 1) * pair[1]
    np.testing.assert_allclose(cosines(pair[1:], first), 0.7, rtol=1e-12)


def test_gradvac_leaves_gradients_that_always_agree_alone():
    tx = gradvac(5, beta=1.0)
    lengths = np.array([[1.0], [3.0], [0.1], [7e4], [1e-6]])
    jacobian = (rows(1, 7) * lengths).astype("float32")
    update, state = jax.jit(tx.update), tx.init(np.zeros(7, "float32"))
    for _ in range(3):
        _, state = update(jacobian, state)
        np.testing.assert_array_equal(state.weights, 1)
    assert np.asarray(state.memory[0])[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradvac(2, beta=1.5), "beta is 1.5"),
        (lambda: gradvac(2, targets="some"), "targets is 'some'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
