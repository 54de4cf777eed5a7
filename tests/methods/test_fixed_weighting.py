"""Fixed weights."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.updates import GOLDEN, solve


def test_golden_values():
    direction, _ = solve(mtopt.fixed_weighting(2, weights=(1, 2)), GOLDEN)
    np.testing.assert_allclose(direction, [8, 3, 3])


def test_weights_by_name_are_compared_with_the_tasks():
    problem, params = mtopt.linear_problem(jnp.float32(GOLDEN), jnp.ones(2))
    seen = problem.evaluate(params)

    def direction(weights):
        tx = mtopt.fixed_weighting(2, weights=weights)
        found, _ = tx.update(seen.gradients, tx.init(params), params, evaluation=seen)
        return found["shared"]

    first, second = problem.names
    assert_close(direction({second: 2, first: 1}), [8, 3, 3], rtol=1e-6)
    with pytest.raises(mtopt.UserError, match="the tasks of weights is"):
        direction({"left": 1, "right": 2})
