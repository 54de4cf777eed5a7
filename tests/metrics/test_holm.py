"""Holm's correction, against another implementation and its own promise."""

import numpy as np
import pytest
from statsmodels.stats import multitest

import mtopt
from mtopt.metrics import holm

NAN = float("nan")


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_it_is_that_of_statsmodels(size):
    rng = np.random.default_rng(size)
    p_values = rng.choice(rng.uniform(size=size) ** 3, size)  # ties among them
    expected = multitest.multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected, rtol=1e-12)


def test_by_hand_and_without_what_was_not_tested():
    np.testing.assert_allclose(
        holm([0.01, NAN, 0.9, 0.02, 0.9]), [0.04, NAN, 1, 0.06, 1]
    )
    assert holm([]).shape == (0,)
    assert np.isnan(holm([NAN])).all()


def test_of_tests_that_find_nothing_few_studies_find_something():
    """The third of ten is real: it is found, and something else in 5 % of studies."""
    p_values = np.random.default_rng(0).uniform(size=(4000, 10))
    p_values[:, 2] = 1e-6
    found = np.array([holm(row) for row in p_values]) <= 0.05
    assert found[:, 2].all()
    false = np.delete(found, 2, axis=1).any(axis=1).mean()
    assert 0.04 < false < 0.06
    assert (np.delete(p_values, 2, axis=1) <= 0.05).any(axis=1).mean() > 0.3


@pytest.mark.parametrize("p_values", [[0.5, 1.1], [-0.1], [[0.5]]])
def test_what_is_no_p_value_is_said(p_values):
    with pytest.raises(mtopt.UserError, match="expected a row of numbers from 0 to 1"):
        holm(p_values)
