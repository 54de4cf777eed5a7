"""Mean ranks, against a published table and SciPy."""

import numpy as np
from scipy import stats

from mtopt import metrics
from tests.helpers.published_tables import CITYSCAPES, CITYSCAPES_HIGHER

NAN = float("nan")


# Ranks and seeds.
def test_mean_ranks_of_the_cityscapes_table():
    rows = np.array([row for row, _, _ in CITYSCAPES.values()])
    ranks = metrics.mean_rank(rows, CITYSCAPES_HIGHER)
    expected = [rank for _, _, rank in CITYSCAPES.values()]
    # The table rounds to one digit, some of its ties up and some to even.
    np.testing.assert_allclose(ranks, expected, atol=0.0501)


def test_ranks_match_scipy_with_ties():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 4, size=(9, 6)).astype(float)
    higher = np.array([True, False] * 3)
    expected = stats.rankdata(np.where(higher, -values, values), axis=0).mean(1)
    np.testing.assert_array_equal(metrics.mean_rank(values, higher), expected)


def test_nan_ranks_last_in_both_directions():
    values = [[NAN, NAN], [0.1, 9.0], [0.2, 1.0], [NAN, 5.0]]
    ranks = metrics.mean_rank(values, [True, False])
    np.testing.assert_array_equal(ranks, [(3.5 + 4) / 2, 2.5, 1.0, (3.5 + 2) / 2])
