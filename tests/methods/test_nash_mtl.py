"""Nash-MTL: its length, its scales, two tasks, and no solution."""

import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.nash_mtl import nash_mtl
from tests.helpers.gradients import normal_rows
from tests.helpers.updates import GOLDEN, direction_and_weights


@pytest.mark.parametrize(
    ("tx", "direction", "atol"),
    [
        (nash_mtl(2), [0.0542, 0.7061, 0.7061], 1e-4),
    ],
    ids=[
        "nash_mtl",
    ],
)
def test_golden_values(tx, direction, atol):
    np.testing.assert_allclose(
        direction_and_weights(tx, GOLDEN)[0], direction, atol=atol
    )


@pytest.mark.parametrize("k", [1, 2, 5, 16])
def test_nash_directions_have_the_length_sqrt_k(k):
    unclipped, _ = direction_and_weights(nash_mtl(k, max_norm=None), normal_rows(k, 20))
    np.testing.assert_allclose(np.linalg.norm(unclipped), np.sqrt(k), rtol=1e-5)
    clipped, _ = direction_and_weights(nash_mtl(k), normal_rows(k, 20))
    np.testing.assert_allclose(np.linalg.norm(clipped), 1, rtol=1e-5)
    np.testing.assert_allclose(clipped, unclipped / np.sqrt(k), atol=1e-5)


def test_nash_ignores_the_scale_of_a_task():
    jacobian, scales = normal_rows(5, 9), np.float32([1e-3, 1, 10, 1e4, 7])[:, None]
    plain, _ = direction_and_weights(nash_mtl(5), jacobian)
    scaled, _ = direction_and_weights(nash_mtl(5), jacobian * scales)
    np.testing.assert_allclose(scaled, plain, atol=1e-5)


def test_nash_for_two_tasks_is_the_bisector():
    jacobian = normal_rows(2, 6)
    direction, weights = direction_and_weights(nash_mtl(2, max_norm=None), jacobian)
    norms = np.linalg.norm(jacobian, axis=1)
    ratio = norms[0] / norms[1]
    first = (norms[0] ** 2 + jacobian[0] @ jacobian[1] * ratio) ** -0.5
    np.testing.assert_allclose(weights, [first, first * ratio], rtol=1e-5)
    bisector = (jacobian / norms[:, None]).sum(0)
    cosine = direction @ bisector / np.linalg.norm(bisector) / np.linalg.norm(direction)
    np.testing.assert_allclose(cosine, 1, rtol=1e-6)


def test_nash_stays_bounded_where_it_has_no_solution():
    opposed = np.stack([normal_rows(1, 4)[0], -2 * normal_rows(1, 4)[0]])
    direction, weights = direction_and_weights(nash_mtl(2), opposed)
    assert np.linalg.norm(direction) <= 1.01
    assert weights.max() < 2e3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nash_mtl(2, max_norm=0.0), "max_norm is 0.0"),
        (lambda: nash_mtl(2, space="rep"), "space is 'rep'"),
    ],
)
def test_bad_options_are_told(build, message):
    with pytest.raises(UserError, match=message):
        build()
