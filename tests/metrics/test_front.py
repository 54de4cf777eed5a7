"""Fronts and their areas, against another implementation."""

import moocore
import numpy as np
import pytest

import mtopt
from mtopt.metrics import hypervolume, nondominated

NAN = float("nan")


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_moocore(seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 12, (25, 2)) / 8  # copies and ties among them
    higher = rng.integers(0, 2, 2).astype(bool)
    reference = rng.integers(2, 10, 2) / 8
    found = hypervolume(points, reference, higher)
    expected = moocore.hypervolume(points, ref=reference, maximise=higher)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    expected = moocore.is_nondominated(points, maximise=higher, keep_weakly=True)
    np.testing.assert_array_equal(nondominated(points, higher), expected)


def test_a_front_of_three_objectives():
    points = np.random.default_rng(0).integers(0, 5, (60, 3))
    expected = moocore.is_nondominated(points.astype(float), keep_weakly=True)
    np.testing.assert_array_equal(nondominated(points, [False] * 3), expected)


def test_what_is_not_better_in_both_adds_nothing():
    points, reference = [[0.5, 0.5]], [1.0, 1.0]
    for more in ([0.9, 1.0], [1.0, 0.1], [2.0, -3.0], [NAN, 0.0], [0.5, 0.5]):
        assert hypervolume([*points, more], reference, [False, False]) == 0.25
    assert hypervolume(np.empty((0, 2)), reference, [False, False]) == 0
    # In the units of each, whatever they are.
    scaled = hypervolume([[50.0, 5e-4]], [100.0, 1e-3], [False, False])
    np.testing.assert_allclose(scaled, 100 * 1e-3 * 0.25)


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0.5, 0.5]], 2.25),
        ([[0.5, 0.5], [0.6, 0.6], [0.5, 0.5]], 2.25),  # dominated and repeated
        ([[0.0, 1.0], [1.0, 0.0]], 3.0),
        ([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], 3.25),
        ([[0.1, 2.0], [3.0, 0.1]], 0.0),  # outside
        ([[0.1, NAN]], 0.0),
    ],
)
def test_hypervolume_of_known_fronts(points, area):
    found = hypervolume(points, [2.0, 2.0], [False, False])
    assert found == pytest.approx(area, abs=1e-12)


def test_hypervolume_is_the_share_of_a_square_that_is_dominated():
    rng = np.random.default_rng(0)
    points, throws = rng.uniform(0, 2, (6, 2)), rng.uniform(0, 2, (200_000, 2))
    hit = (points[None] <= throws[:, None]).all(axis=2).any(axis=1).mean()
    found = hypervolume(points, [2.0, 2.0], [False, False])
    # Four standard deviations of 200,000 throws.
    assert found == pytest.approx(4 * hit, abs=0.018)


def test_a_point_without_a_number_is_not_on_the_front():
    found = nondominated([[NAN, 0.0], [1.0, 1.0], [1.0, 1.0]], [False, False])
    assert found.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("points", "reference", "message"),
    [
        ([[1.0, 2.0, 3.0]], [4.0, 4.0, 4.0], r"points has shape \(1, 3\)"),
        ([[1.0, 2.0]], [4.0], r"points has shape \(1, 1\) and higher"),
        ([1.0, 2.0], [4.0, 4.0], r"points has shape \(2,\) and higher"),
    ],
)
def test_other_shapes_are_said(points, reference, message):
    higher = [False] * max(2, np.shape(points)[-1])
    with pytest.raises(mtopt.UserError, match=message):
        hypervolume(points, reference, higher)
