"""smoothed_weights: a running mean of the solutions."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.wrappers import smoothed_weights
from tests.helpers.close import assert_close
from tests.helpers.wrappers import ROWS, STACKS, averages, steps


def test_smoothed_weights_are_the_running_mean_of_the_solutions():
    solved = [weights for _, weights in steps(mtopt.mgda(3), STACKS)]
    mean = solved[0]
    found = steps(smoothed_weights(mtopt.mgda(3), alpha=0.8), STACKS)
    for rows, new, (direction, weights) in zip(STACKS, solved, found, strict=True):
        mean = 0.8 * mean + 0.2 * new
        np.testing.assert_allclose(weights, mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(direction, mean @ rows, rtol=1e-4, atol=1e-5)


def test_an_absent_task_keeps_its_mean_and_returns_to_it():
    here = [jnp.ones(3, bool), jnp.array([True, False, True]), jnp.ones(3, bool)]
    solved = [w for _, w in steps(mtopt.mgda(3), STACKS, present=here)]
    tx = smoothed_weights(mtopt.mgda(3), alpha=0.5)
    found = [weights for _, weights in steps(tx, STACKS, present=here)]
    assert found[1][1] == 0
    np.testing.assert_allclose(
        found[2][1], 0.5 * solved[0][1] + 0.5 * solved[2][1], rtol=1e-4, atol=1e-6
    )


def test_a_task_that_the_first_batch_lacks_starts_at_an_equal_share():
    here = [jnp.array([True, False, True]), jnp.ones(3, bool)]
    first, second = (w for _, w in steps(mtopt.mgda(3), STACKS[:2], present=here))
    tx = smoothed_weights(mtopt.mgda(3), alpha=0.5)
    found = [weights for _, weights in steps(tx, STACKS[:2], present=here)]
    share = first * 2 / 3 + np.array([0, 1 / 3, 0])
    assert_close(found[1], 0.5 * share + 0.5 * second, rtol=1e-5)


def test_without_a_common_scale_a_mean_starts_at_the_first_weight():
    here = [jnp.array([True, False, True]), jnp.ones(3, bool)]
    tx = smoothed_weights(mtopt.fixed_weighting(3, weights=(1.0, 2.0, 3.0)))
    found = [weights for _, weights in steps(tx, STACKS[:2], present=here)]
    np.testing.assert_allclose(found, [[1, 0, 3], [1, 2, 3]], rtol=1e-6)


def test_rows_of_its_own_making_are_summed_with_the_smoothed_weights():
    (direction, _), *_ = steps(smoothed_weights(averages(3)), [ROWS])
    np.testing.assert_allclose(direction, np.sign(ROWS).sum(axis=0))


def test_smoothing_twice_is_a_mean_of_means():
    once = smoothed_weights(mtopt.mgda(3), alpha=0.5)
    twice = smoothed_weights(once, alpha=0.25)
    inner = [weights for _, weights in steps(once, STACKS)]
    found = [weights for _, weights in steps(twice, STACKS)]
    expected = inner[0]
    for own, weights in zip(inner, found, strict=True):
        expected = 0.25 * expected + 0.75 * own
        assert_close(weights, expected, rtol=1e-5)
    assert abs(inner[-1] - found[-1]).max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: smoothed_weights(mtopt.mgda(2), alpha=1), "alpha is 1"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
