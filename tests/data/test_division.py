"""Samples divided into training, validation and test."""

import numpy as np

from mtopt.data.division import TEST, TRAIN, VALID, divide


def test_a_division_follows_the_fractions():
    group = np.repeat([0, 1, 2, 3], [100, 3, 2, 1])
    parts = divide(
        np.full(106, TRAIN), group, {VALID: 0.2, TEST: 0.4}, np.random.default_rng(0)
    )
    counts = [np.bincount(parts[group == g], minlength=3).tolist() for g in range(4)]
    assert counts == [[40, 20, 40], [1, 1, 1], [1, 0, 1], [1, 0, 0]]


def test_an_extreme_division_leaves_one_of_each():
    for fractions in ({VALID: 0.9, TEST: 0.05}, {VALID: 0.05, TEST: 0.9}):
        for n in (3, 4, 5):
            zeros = np.zeros(n, int)
            parts = divide(zeros, zeros, fractions, np.random.default_rng(0))
            assert np.bincount(parts, minlength=3).min() >= 1
