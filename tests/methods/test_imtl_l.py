"""IMTL-L: its numbers follow Adam, and where they end."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.imtl_l import imtl_l
from tests.helpers.loss_methods import assert_learned_numbers_follow_adam, follow


def test_learned_numbers_follow_adam_and_wait_for_absent_tasks():
    assert_learned_numbers_follow_adam(
        imtl_l(3), 0.0, lambda k, s: np.exp(s), lambda k, s, loss: np.exp(s) * loss - 1
    )


def test_learned_weights_end_at_the_inverse_losses():
    losses = np.tile([0.5, 1.0, 2.0], (800, 1))
    weights, _ = follow(imtl_l(3), losses)
    np.testing.assert_allclose(weights[-1], 1 / losses[0], rtol=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: imtl_l(2, learning_rate=-1), "learning_rate is -1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
