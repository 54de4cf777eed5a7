"""Fixed weights."""

import jax
import numpy as np
import pytest

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.updates import GOLDEN, first_update_on, solve


def test_golden_values():
    direction, _ = solve(mtopt.fixed_weighting(2, weights=(1, 2)), GOLDEN)
    np.testing.assert_allclose(direction, [8, 3, 3])


def test_weights_by_name_are_compared_with_the_tasks():
    rows, losses = jax.device_put((np.asarray(GOLDEN), np.ones(2, "float32")))
    problem, params = mtopt.linear_problem(rows, losses)

    def direction(weights):
        tx = mtopt.fixed_weighting(2, weights=weights)
        updates, _ = first_update_on(tx, problem, params)
        return updates["shared"]

    first, second = problem.names
    assert_close(direction({second: 2, first: 1}), [8, 3, 3], rtol=1e-6)
    with pytest.raises(mtopt.UserError, match="the tasks of weights is"):
        direction({"left": 1, "right": 2})
