"""MoDo, against its algorithm in float64."""

import jax
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.modo import modo
from tests.helpers.close import assert_close
from tests.helpers.several_batches import K, jacobian, parts_of, run, three_batches
from tests.helpers.simplex import nearest_on_simplex


@pytest.mark.parametrize("rare", [None, 1])
def test_modo_follows_the_algorithm(rare):
    batches, weights = three_batches(rare), np.full(K, 1 / K)
    found = run(modo(K, gamma=0.05, rho=0.2), batches)
    for batch, (updates, applied, grads) in zip(batches, found, strict=True):
        first, second, third = (
            jacobian(part, batch[4], batch[5]) for part in parts_of(batch, 3)
        )
        slope = first @ (second.T @ weights) + 0.2 * weights
        weights = nearest_on_simplex(weights - 0.05 * slope)
        np.testing.assert_allclose(applied, weights, rtol=1e-6)
        assert_close(updates["shared"], weights @ third, rtol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, updates["tasks"], grads["tasks"])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (modo, {"gamma": -1.0}, "gamma is -1.0"),
        (modo, {"rho": -1.0}, "rho is -1.0"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
