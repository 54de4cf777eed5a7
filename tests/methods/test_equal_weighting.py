"""Equal weighting: a mean or a sum of those that are there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers.updates import GOLDEN, solve


def test_golden_values():
    direction, _ = solve(mtopt.equal_weighting(2), GOLDEN)
    np.testing.assert_allclose(direction, [1, 1, 1])
    direction, _ = solve(mtopt.equal_weighting(2, reduction="sum"), GOLDEN)
    np.testing.assert_allclose(direction, [2, 2, 2])


def test_equal_weighting_divides_by_the_tasks_that_are_there():
    present = jnp.array([True, False, True])
    rows = jnp.array([[2.0], [0.0], [4.0]])
    direction, _ = solve(mtopt.equal_weighting(3), rows, present=present)
    np.testing.assert_allclose(direction, [3.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mtopt.equal_weighting(2, reduction="max"), "reduction is 'max'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()


def test_equal_weights_have_the_precision_of_the_rows():
    """A third in float32 is not a third in float64."""
    with jax.enable_x64(True):
        rows = np.eye(3)
        tx = mtopt.equal_weighting(3)
        direction, _ = jax.jit(tx.update)(rows, tx.init(rows[0]))
        np.testing.assert_allclose(direction, 1 / 3, rtol=1e-15)
