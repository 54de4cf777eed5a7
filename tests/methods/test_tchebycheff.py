"""The Tchebycheff scalarisations: the weights are their gradients."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.tchebycheff import tchebycheff
from tests.helpers.close import assert_close
from tests.helpers.loss_methods import (
    IDEAL,
    assert_gradient_of_the_scalarised_loss,
    follow,
    share,
)


@pytest.mark.parametrize(
    ("form", "reference"),
    [
        (
            "product",
            lambda losses, index: np.max(share(index) * (losses - 0.1)),
        ),
        (
            "quotient",
            lambda losses, index: np.max((losses - 0.1) / share(index)),
        ),
    ],
)
def test_weights_are_the_gradient_of_the_scalarised_loss(form, reference):
    tx = tchebycheff(3, preference=(1, 2, 5), ideal=IDEAL, form=form)
    assert_gradient_of_the_scalarised_loss(tx, reference)


def test_ties_share_the_worst_loss():
    weights, _ = follow(tchebycheff(3), [[2.0, 2.0, 1.0]])
    np.testing.assert_allclose(weights[0], [1 / 6, 1 / 6, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "reduction", "sizes"),
    [("product", "share", [1 / 3, 1 / 2, 1]), ("quotient", "sum", [3, 2, 1])],
)
def test_the_worst_of_the_tasks_present_has_its_share(form, reduction, sizes):
    tx = tchebycheff(3, form=form)
    weights, _ = follow(tx, np.ones((3, 3)), np.tri(3, dtype=bool)[::-1])
    assert_close(weights.sum(axis=1), np.array(sizes), rtol=1e-6)
    assert tx.rule.reduction == reduction


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tchebycheff(2, preference=(1, 0)), r"preference is \(1, 0\)"),
        (lambda: tchebycheff(2, preference=(1, 1, 1)), "expected 2 finite numbers"),
        (lambda: tchebycheff(2, ideal=(1,)), r"ideal is \(1,\)"),
        (lambda: tchebycheff(2, form="sum"), "form is 'sum'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
