"""Differences over the same seeds, and their intervals."""

import numpy as np
import pytest
import scipy.stats

import mtopt
from mtopt.metrics import paired_interval

NAN = float("nan")


def test_it_is_the_interval_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=10)
    ours = theirs + 0.1 * rng.normal(size=10) + 0.05
    found = paired_interval(ours, theirs)
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-12)
    np.testing.assert_allclose(found.mean, np.mean(ours - theirs), rtol=1e-12)
    assert found.pairs == 10


def test_what_a_seed_does_to_both_cancels():
    seeds = np.array([5.0, -3.0, 100.0])
    found = paired_interval(seeds + 0.1, seeds)
    np.testing.assert_allclose(found[:3], 0.1, rtol=1e-9)


def test_a_seed_that_one_of_them_lacks_is_left_out():
    ours, theirs = [1.0, NAN, 3.0, 4.0], [0.5, 1.0, 2.0, NAN]
    assert paired_interval(ours, theirs) == paired_interval([1.0, 3.0], [0.5, 2.0])
    assert paired_interval(ours, theirs).pairs == 2


@pytest.mark.parametrize(("values", "mean"), [([1.0, NAN], 1.0), ([NAN], NAN)])
def test_one_pair_has_no_interval_and_none_has_no_mean(values, mean):
    found = paired_interval(values, np.zeros(len(values)))
    np.testing.assert_array_equal(found[:3], [mean, NAN, NAN])


def test_what_cannot_be_paired_is_said():
    with pytest.raises(
        mtopt.UserError, match=r"values has shape \(2,\) and others \(3"
    ):
        paired_interval(np.zeros(2), np.zeros(3))


def test_its_p_value_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(1)
    for size in (2, 3, 10):
        ours, theirs = rng.normal(size=(2, size))
        found = paired_interval(ours, theirs)
        expected = scipy.stats.ttest_rel(ours, theirs).pvalue
        np.testing.assert_allclose(found.p_value, expected, rtol=1e-12)
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize(("difference", "p_value"), [(0.0, 1.0), (0.5, 0.0)])
def test_differences_without_spread_are_certain(difference, p_value):
    values = np.arange(4.0)
    assert paired_interval(values + difference, values).p_value == p_value
    assert np.isnan(paired_interval([1.0], [0.0]).p_value)
