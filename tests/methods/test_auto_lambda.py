"""Auto-Lambda, against its algorithm and finite differences in float64."""

import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.auto_lambda import auto_lambda
from tests.helpers.close import assert_close
from tests.helpers.several_batches import (
    BATCH,
    Adam,
    K,
    data,
    look_ahead,
    loss_and_grads,
    parts_of,
    run,
    three_batches,
)


@pytest.mark.parametrize("primary", [None, (0, 2)])
def test_auto_lambda_follows_the_algorithm(primary):
    batches, weights, adam = three_batches(), np.full(K, 0.1), Adam(0.06)
    tx = auto_lambda(K, primary=primary, lookahead=0.2, learning_rate=0.06)
    judges = range(K) if primary is None else primary
    for batch, (updates, applied, grads) in zip(batches, run(tx, batches), strict=True):
        products, _ = look_ahead(batch, weights, 0.2)
        slope = -0.2 * sum(products[i] for i in judges)
        weights = np.maximum(weights + adam.step(slope), 0)
        np.testing.assert_allclose(applied, weights, rtol=1e-6, atol=1e-9)
        assert_close(
            updates["shared"], weights @ np.asarray(grads["shared"]), rtol=1e-6
        )
        np.testing.assert_allclose(
            updates["tasks"].values[:, 0],
            weights * np.asarray(grads["tasks"].values)[:, 0],
            rtol=1e-6,
        )


def test_auto_lambda_is_the_derivative_of_the_validation_loss():
    """Against finite differences of the look-ahead itself, not of its formula."""
    batch, eta = data(3), 0.2
    train, validation = parts_of(batch, 2)
    theta, heads = batch[4:]

    def validation_loss(weights):
        here = [loss_and_grads(train, theta, heads, k) for k in range(K)]
        ahead = theta - eta * sum(weights[k] * here[k][1] for k in range(K))
        own = np.stack([heads[k] - eta * weights[k] * here[k][2] for k in range(K)])
        return sum(loss_and_grads(validation, ahead, own, k)[0] for k in range(K))

    weights, small = np.full(K, 0.1), 1e-6
    numeric = [
        (validation_loss(weights + e) - validation_loss(weights - e)) / (2 * small)
        for e in small * np.eye(K)
    ]
    found = run(auto_lambda(K, lookahead=eta, learning_rate=1e-3), [batch])
    # Adam's first step is the sign of the slope.
    np.testing.assert_allclose(
        found[0][1] - weights, -1e-3 * np.sign(numeric), rtol=1e-4
    )
    products, _ = look_ahead(batch, weights, eta)
    assert_close(-eta * products.sum(0), numeric, rtol=1e-4)


@pytest.mark.parametrize(
    "method",
    [
        auto_lambda,
    ],
)
def test_an_absent_task_keeps_its_weight(method):
    *batch, shared, heads = data(0)
    without = np.ones((K, BATCH), bool)
    without[1] = False
    away, back = (
        (*batch[:3], mask, shared, heads)
        for mask in (without, np.ones((K, BATCH), bool))
    )
    (_, first, _), (_, second, _) = run(method(K, learning_rate=0.01), [away, back])
    assert first[1] == 0
    assert (first[[0, 2]] > 0).all()
    start = 0.1 if method is auto_lambda else 1 / K
    np.testing.assert_allclose(second[1], start, atol=0.011)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (auto_lambda, {"primary": (3,)}, "index from 0 to 2"),
        (auto_lambda, {"primary": ()}, "at least one index"),
        (auto_lambda, {"lookahead": 0.0}, "lookahead is 0.0"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
