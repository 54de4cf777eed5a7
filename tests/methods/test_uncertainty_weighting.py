"""Uncertainty weighting: its numbers follow Adam, and where they end."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.uncertainty_weighting import uncertainty_weighting
from tests.helpers.loss_methods import assert_learned_numbers_follow_adam, follow

KINDS = ("regression", "classification", "regression")


def test_learned_numbers_follow_adam_and_wait_for_absent_tasks():
    half = (0.5, 1, 0.5)
    assert_learned_numbers_follow_adam(
        uncertainty_weighting(3, kinds=KINDS, init=-0.5),
        -0.5,
        lambda k, s: half[k] * np.exp(-s),
        lambda k, s, loss: 0.5 - half[k] * np.exp(-s) * loss,
    )


def test_learned_weights_end_at_the_inverse_losses():
    losses = np.tile([0.5, 1.0, 2.0], (800, 1))
    for kinds in ("regression", "classification"):
        weights, _ = follow(uncertainty_weighting(3, kinds=kinds), losses)
        np.testing.assert_allclose(weights[-1], 0.5 / losses[0], rtol=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uncertainty_weighting(2, kinds="count"), "kinds is 'count'"),
        (lambda: uncertainty_weighting(2, kinds=KINDS), "kinds has 3 entries"),
        (lambda: uncertainty_weighting(2, learning_rate=0), "learning_rate is 0"),
        (lambda: uncertainty_weighting(2, init=float("nan")), "init is nan"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
