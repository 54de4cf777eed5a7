"""Loss matching: the weights of its equation, and what changes them."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.loss_matching import loss_matching

ROWS = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0], [0.5, -2.0, 3.0]])
LOSSES = jnp.array([0.5, 4.0, 2.0])


def update(losses=LOSSES, rows=ROWS, present=None, **options):
    tx = loss_matching(3, **options)
    evaluation = mtopt.Evaluation(losses=losses, present=present)
    direction, state = tx.update(rows, tx.init(jnp.zeros(3)), evaluation=evaluation)
    return np.asarray(direction), np.asarray(state.weights)


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_every_weighted_loss_is_that_of_the_reference(reference):
    direction, weights = update(reference=reference)
    np.testing.assert_allclose(weights * LOSSES, LOSSES[reference], rtol=1e-6)
    invariant = mtopt.scale_invariant(3)
    evaluation = mtopt.Evaluation(losses=LOSSES)
    wanted, _ = invariant.update(
        ROWS, invariant.init(jnp.zeros(3)), evaluation=evaluation
    )
    np.testing.assert_allclose(direction, LOSSES[reference] * wanted, rtol=1e-5)


def test_the_unit_of_another_loss_changes_nothing_and_its_own_the_length():
    direction, _ = update()
    for task, length in ((0, 100), (1, 1), (2, 1)):
        unit = jnp.ones(3).at[task].set(100.0)
        scaled, _ = update(LOSSES * unit, ROWS * unit[:, None])
        np.testing.assert_allclose(scaled, length * direction, rtol=1e-5)


def test_a_loss_of_zero_is_finite_and_of_the_reference_stops_all():
    _, weights = update(LOSSES.at[1].set(0.0))
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights[1], 0.5 / 1e-8, rtol=1e-6)
    direction, _ = update(LOSSES.at[0].set(0.0))
    np.testing.assert_array_equal(direction, 0)


def test_without_the_reference_the_others_meet_in_their_geometric_mean():
    _, weights = update(present=jnp.array([False, True, True]))
    np.testing.assert_allclose((weights * LOSSES)[1:], 8**0.5, rtol=1e-6)
    assert weights[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": 3}, "reference is 3"),
        ({"epsilon": 0}, "epsilon is 0: expected a number above 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        loss_matching(3, **options)
