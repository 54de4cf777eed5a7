"""Krum, against its scores on the gradients themselves in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.krum import krum
from tests.helpers.close import assert_close
from tests.helpers.gradients import rows
from tests.helpers.updates import solve

ADVERSARIAL = jnp.array(
    [[1.0, 1, 1], [1.0, 0, 1], [75.0, -666, 23], [1.0, 2, 3], [2.0, 0, 1]]
)


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (
            krum(5, num_byzantine=1, num_selected=4),
            ADVERSARIAL,
            [0.25, 0.25, 0, 0.25, 0.25],
            [1.25, 0.75, 1.5],
        ),
    ],
    ids=[
        "krum",
    ],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


@pytest.mark.parametrize("distance", ["squared", "euclidean"])
@pytest.mark.parametrize("absent", [None, 2])
def test_krum_scores(x64, distance, absent):
    jacobian = rows(5, 7)
    present = np.arange(5) != absent
    here = jacobian[present]
    apart = np.linalg.norm(here[:, None] - here[None], axis=2)
    apart = apart**2 if distance == "squared" else apart
    nearest = np.sort(apart, axis=1)[:, 1 : len(here) - 1 - 2 + 1]
    best = np.argsort(nearest.sum(axis=1))[:2]
    tx = krum(5, num_byzantine=1, num_selected=2, distance=distance)
    direction, _ = solve(tx, jnp.asarray(jacobian), present=jnp.asarray(present))
    assert_close(direction, here[best].mean(axis=0), rtol=1e-12)


def test_krum_with_too_few_present_takes_the_closest():
    jacobian = jnp.array([[0.0, 1], [50, 0], [0, 1.5], [9, 9], [-7, 3]])
    present = jnp.array([True, True, True, False, False])
    _, state = solve(krum(5, num_byzantine=2), jacobian, present=present)
    assert state.weights.tolist() == [0.5, 0, 0.5, 0, 0]  # of one another
    _, state = solve(krum(5, num_selected=4), jacobian, present=present)
    np.testing.assert_allclose(state.weights, [1 / 3, 1 / 3, 1 / 3, 0, 0])


@pytest.mark.parametrize("distance", ["squared", "euclidean"])
def test_names_decide_nothing_where_scores_tie(distance):
    """The nearest two of three tasks are as near to one another."""
    tx = krum(3, distance=distance)
    order = np.array([2, 0, 1])

    def weights(jacobian):
        return tx.update(jacobian, tx.init(jacobian[0]))[1].weights

    drawn = np.stack([rows(3, 6, seed) for seed in range(200)]).astype(np.float32)
    found = np.asarray(jax.jit(jax.vmap(weights))(drawn))
    renamed = np.asarray(jax.jit(jax.vmap(weights))(drawn[:, order]))
    np.testing.assert_array_equal(np.sort(found, axis=1), [[0, 0.5, 0.5]] * 200)
    np.testing.assert_array_equal(renamed, found[:, order])


def test_those_before_the_tie_are_taken_whole():
    tied = jnp.array([[0.0], [1.0], [-1.0], [9.0]])
    _, state = solve(krum(4, num_selected=2), tied)
    np.testing.assert_allclose(state.weights, [0.5, 0.25, 0.25, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: krum(4, num_byzantine=2), "num_byzantine is 2"),
        (lambda: krum(4, num_selected=5), "num_selected is 5"),
        (lambda: krum(4, distance="cosine"), "distance is 'cosine'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
