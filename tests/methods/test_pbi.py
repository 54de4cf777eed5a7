"""Penalty-based boundary intersection: the weights are its gradient."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.pbi import pbi
from tests.helpers.loss_methods import (
    IDEAL,
    PREFERENCE,
    assert_gradient_of_the_scalarised_loss,
    follow,
)


def boundary(losses, index):
    ray = PREFERENCE[index] / np.linalg.norm(PREFERENCE[index])
    along = (losses - 0.1) @ ray
    return along + 2 * np.linalg.norm(losses - 0.1 - along * ray)


def test_weights_are_the_gradient_of_the_scalarised_loss():
    tx = pbi(3, theta=2, preference=(1, 2, 5), ideal=IDEAL)
    assert_gradient_of_the_scalarised_loss(tx, boundary)


def test_on_its_ray_pbi_descends_the_ray_alone():
    weights, _ = follow(pbi(3, preference=(3, 4, 12)), [[3e-5, 4e-5, 12e-5]])
    np.testing.assert_allclose(weights[0], np.array([3, 4, 12]) / 13, atol=2e-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pbi(2, theta=-1), "theta is -1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
