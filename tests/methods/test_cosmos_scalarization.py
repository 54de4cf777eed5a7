"""COSMOS: the weights are the gradient of its scalar loss."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.cosmos_scalarization import cosmos_scalarization
from tests.helpers.loss_methods import (
    assert_gradient_of_the_scalarised_loss,
    share,
)


def cosine(losses, index):
    norms = np.linalg.norm(share(index)) * np.linalg.norm(losses)
    return share(index) @ losses - 2 * (share(index) @ losses) / norms


def test_weights_are_the_gradient_of_the_scalarised_loss():
    tx = cosmos_scalarization(3, preference=(1, 2, 5))
    assert_gradient_of_the_scalarised_loss(tx, cosine)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cosmos_scalarization(2, penalty=-1), "penalty is -1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
