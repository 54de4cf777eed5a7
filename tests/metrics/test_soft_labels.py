"""Metrics of distributions and preferences."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from mtopt import metrics
from mtopt.errors import UserError


def everything(n):
    return np.ones(n, bool)


def test_divergence_and_accuracy_match_scipy_on_the_labelled_samples():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(60, 4)), rng.dirichlet(np.ones(4), 60)
    target[:5] = np.eye(4)[rng.integers(4, size=5)]
    mask = rng.random(60) < 0.7
    found = metrics.divergence(logits, target, mask)
    expected = entropy(target, softmax(logits, -1), axis=-1)[mask].mean()
    assert found == pytest.approx(expected)
    crossed = -(target * log_softmax(logits, -1)).sum(-1)[mask].mean()
    assert found == pytest.approx(crossed - entropy(target, axis=-1)[mask].mean())
    right = (logits.argmax(-1) == target.argmax(-1))[mask].mean()
    assert metrics.top_accuracy(logits, target, mask) == pytest.approx(right)
    assert metrics.divergence(np.log(target + 1e-300), target, mask) < 1e-12


def test_ties_are_no_errors_and_an_undecided_output_is_half_of_one():
    target = np.array([1, 0, 0.5, 1])
    margins = np.array([0.1, -3.0, 7.0, 0.0])
    assert metrics.pair_accuracy(margins, target, everything(4)) == 2.5 / 3
    assert np.isnan(metrics.pair_accuracy(margins, np.full(4, 0.5), everything(4)))


@pytest.mark.parametrize(
    ("metric", "output", "target", "message"),
    [
        (metrics.top_accuracy, np.zeros((1, 2)), [[0.5, 0.6]], "sum to 1"),
        (metrics.divergence, np.zeros((1, 2)), [[-0.5, 1.5]], "sum to 1"),
        (metrics.divergence, np.zeros((1, 2)), [[1.0]], "do not match"),
        (metrics.pair_accuracy, np.zeros(2), [1, -1], "go from -1 to 1"),
    ],
)
def test_labels_of_another_kind(metric, output, target, message):
    with pytest.raises(UserError, match=message):
        metric(output, np.array(target), everything(len(output)))
