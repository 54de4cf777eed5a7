"""The smooth Tchebycheff scalarisation: its gradient, and what it bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.smooth_tchebycheff import (
    smooth_tchebycheff,
    smooth_tchebycheff_loss,
)
from tests.helpers.loss_methods import (
    IDEAL,
    assert_gradient_of_the_scalarised_loss,
    share,
)


def soft_max(losses, index):
    return 0.3 * np.log(np.sum(np.exp(share(index) * (losses - 0.1) / 0.3)))


def test_weights_are_the_gradient_of_the_scalarised_loss():
    tx = smooth_tchebycheff(3, mu=0.3, preference=(1, 2, 5), ideal=IDEAL)
    assert_gradient_of_the_scalarised_loss(tx, soft_max)


def test_the_smooth_maximum_bounds_the_maximum():
    losses, even = jnp.array([0.3, 2.0, 1.0]), jnp.ones(3)
    soft = jax.jit(
        lambda mu: smooth_tchebycheff_loss(losses, even, 0 * even, mu), static_argnums=0
    )
    for mu in (1e-3, 0.1, 10.0):
        assert 2 <= soft(mu) <= 2 + mu * np.log(3) + 1e-5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: smooth_tchebycheff(2, mu=0), "mu is 0"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
