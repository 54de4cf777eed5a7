"""MOML, against its algorithm in float64."""

import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.auto_lambda import auto_lambda
from mtopt.methods.moml import moml
from tests.helpers.close import assert_close
from tests.helpers.several_batches import (
    BATCH,
    Adam,
    K,
    data,
    look_ahead,
    run,
    three_batches,
)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


def shortest_weights(rows):
    """MGDA by trying every set of tasks that may have weight."""
    best = np.inf, None
    for bits in range(1, 2**K):
        chosen = np.array([bits >> k & 1 for k in range(K)], bool)
        free = chosen.sum() + 1
        system = np.ones((free, free))
        system[:-1, :-1], system[-1, -1] = rows[chosen] @ rows[chosen].T, 0
        solution = np.linalg.lstsq(system, np.eye(free)[-1], rcond=1e-10)[0][:-1]
        weights = np.zeros(K)
        weights[chosen] = solution
        length = np.linalg.norm(weights @ rows)
        if solution.min() >= 0 and length < best[0] - 1e-12:
            best = length, weights
    return best[1]


@pytest.mark.parametrize("normalize", ["l2", "loss"])
def test_moml_follows_the_algorithm(normalize):
    batches, logits, adam = three_batches(), np.full(K, 1 / K), Adam(0.1)
    tx = moml(K, lookahead=0.2, learning_rate=0.1, normalize=normalize)
    for batch, (updates, applied, grads) in zip(batches, run(tx, batches), strict=True):
        weights = softmax(logits)
        products, losses = look_ahead(batch, weights, 0.2)
        slope = -0.2 * products @ (np.diag(weights) - np.outer(weights, weights))
        scale = np.linalg.norm(slope, axis=1) if normalize == "l2" else losses
        logits = logits + adam.step(shortest_weights(slope / scale[:, None]) @ slope)
        np.testing.assert_allclose(applied, softmax(logits), rtol=1e-4)
        assert_close(
            updates["shared"], applied @ np.asarray(grads["shared"]), rtol=1e-6
        )


@pytest.mark.parametrize(
    "method",
    [
        moml,
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
        (moml, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (moml, {"normalize": "none"}, "normalize is 'none'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
