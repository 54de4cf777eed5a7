"""Fixed weights."""

import numpy as np

import mtopt
from tests.helpers.updates import GOLDEN, solve


def test_golden_values():
    direction, _ = solve(mtopt.fixed_weighting(2, weights=(1, 2)), GOLDEN)
    np.testing.assert_allclose(direction, [8, 3, 3])
