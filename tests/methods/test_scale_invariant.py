"""Scale-invariant scalarisation: the gradient of the sum of the logarithms."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.scale_invariant import scale_invariant
from tests.helpers.loss_methods import assert_gradient_of_the_scalarised_loss


@pytest.mark.parametrize(
    ("epsilon", "reference"),
    [
        (1e-8, lambda losses, index: np.log(losses + 1e-8).sum()),
        (1.0, lambda losses, index: np.log1p(losses).sum()),
    ],
)
def test_weights_are_the_gradient_of_the_scalarised_loss(epsilon, reference):
    tx = scale_invariant(3, epsilon=epsilon)
    assert_gradient_of_the_scalarised_loss(tx, reference)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scale_invariant(2, epsilon=0), "epsilon is 0: expected a number abo"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()


def test_a_missing_loss_is_named():
    tx = scale_invariant(2)
    with pytest.raises(TypeError, match="'losses'"):
        tx.update(jnp.eye(2), tx.init(jnp.zeros(2)))
