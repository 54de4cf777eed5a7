"""The geometric mean of the losses: the weights are its gradient."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.geometric_loss import geometric_loss
from tests.helpers.loss_methods import assert_gradient_of_the_scalarised_loss


def geometric(losses, index):
    return np.prod(losses) ** (1 / len(losses))


def test_weights_are_the_gradient_of_the_scalarised_loss():
    assert_gradient_of_the_scalarised_loss(geometric_loss(3), geometric)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: geometric_loss(2, heads="none"), "heads is 'none'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
