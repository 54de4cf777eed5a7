"""Metrics of levels, which know how many levels there are."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mtopt import metrics
from mtopt.errors import UserError

ALL = np.ones(4, bool)
LEVEL_METRICS = (
    metrics.level_mae,
    metrics.level_macro_mae,
    metrics.quadratic_kappa,
)


def test_a_fold_without_a_level_has_the_distances_of_the_others():
    """Levels 1 and 2 of four are missing: 0 for 3 is off by 3, and not by 1."""
    target, level = np.array([0, 0, 3, 3]), np.array([0, 0, 0, 3])
    assert metrics.level_macro_mae(level, target, ALL, levels=4) == 0.75
    assert metrics.level_mae(level, target, ALL, levels=4) == 0.75
    # Numbered anew they would be .25, and kappa .4 where the 1 counts as a middle.
    level = np.array([0, 1, 3, 3])
    expected = cohen_kappa_score(target, level, labels=range(4), weights="quadratic")
    assert metrics.quadratic_kappa(level, target, ALL, levels=4) == pytest.approx(
        expected
    )
    assert abs(expected - cohen_kappa_score(target, level, weights="quadratic")) > 0.02


def test_metrics_match_their_definitions_on_the_labelled_samples():
    rng = np.random.default_rng(0)
    target = np.minimum(rng.geometric(0.5, 300), 5) - 1
    level = np.clip(target + rng.integers(-2, 3, 300), 0, 4)
    mask = rng.random(300) < 0.7
    y, p = target[mask], level[mask]
    found = [metric(level, target, mask, levels=5) for metric in LEVEL_METRICS]
    macro = np.mean([abs(p - y)[y == c].mean() for c in range(5)])
    kappa = cohen_kappa_score(y, p, labels=range(5), weights="quadratic")
    np.testing.assert_allclose(found, [abs(p - y).mean(), macro, kappa], rtol=1e-12)
    assert abs(found[0] - found[1]) > 0.04  # rare levels count as frequent ones


@pytest.mark.parametrize("adjacent", [False, True])
def test_the_predicted_level_is_the_median(adjacent):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 4)) * 2
    if adjacent:
        chances = np.exp(np.pad(logits.cumsum(-1), [(0, 0), (1, 0)]))
    else:
        logits = -np.sort(-logits, axis=-1)
        chances = -np.diff(1 / (1 + np.exp(-logits)), prepend=1, append=0)
    far = abs(np.arange(5)[:, None] - np.arange(5))
    nearest = (chances @ far).argmin(-1)
    found = metrics.median_level(logits, adjacent=adjacent)
    np.testing.assert_array_equal(found, nearest)
    assert len(np.unique(found)) > 3
    far_out = metrics.median_level(np.array([[9e2, 9e2], [-9e2, -9e2]]), adjacent=True)
    assert far_out.tolist() == [2, 0]


def test_one_level_alone_has_no_kappa():
    ones = np.ones(4, int)
    assert np.isnan(metrics.quadratic_kappa(ones, ones, ALL, levels=3))
    assert metrics.level_mae(ones, ones, ALL, levels=3) == 0


@pytest.mark.parametrize("metric", LEVEL_METRICS)
@pytest.mark.parametrize(
    ("level", "target", "message"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 4], "target of an ordinal task is 4: .* 0 to 3"),
        ([0, 1, 2, 3], [0, 1, 2, -1], "target of an ordinal task is -1"),
        ([0, 1, 2, 5], [0, 1, 2, 3], "prediction of an ordinal task is 5"),
        ([0, 1, 2, 0.5], [0, 1, 2, 3], "prediction of an ordinal task is 0.5"),
        ([0, 1, 2], [0, 1, 2, 3], "do not match"),
    ],
)
def test_a_number_that_is_no_level(metric, level, target, message):
    with pytest.raises(UserError, match=message):
        metric(np.array(level), np.array(target), ALL, levels=4)
