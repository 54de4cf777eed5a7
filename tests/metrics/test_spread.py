"""Means and spreads over seeds."""

import numpy as np

from mtopt import metrics

NAN = float("nan")


def test_mean_and_spread():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(5, 3))
    mean, spread = metrics.mean_and_spread(values, axis=0)
    np.testing.assert_allclose(mean, values.mean(0))
    np.testing.assert_allclose(spread, values.std(0, ddof=1))
    mean, spread = metrics.mean_and_spread(values[:1], axis=0)
    np.testing.assert_array_equal(spread, np.zeros(3))
    values[:, 1] = NAN
    values[0, 2] = NAN
    mean, spread = metrics.mean_and_spread(values, axis=0)
    assert np.isnan([mean[1], spread[1]]).all()
    np.testing.assert_allclose(mean[2], values[1:, 2].mean())
    np.testing.assert_allclose(spread[2], values[1:, 2].std(ddof=1))
