"""The conflict-averse solve, judged in float64."""

import jax
import numpy as np
import pytest
import scipy.optimize

from mtopt.solvers import (
    conflict_averse_weights,
)
from tests.helpers.gramians import FAMILIES, WELL_POSED, gramians, solve

weights_of = jax.jit(conflict_averse_weights)


# The conflict-averse solve.
def dual_value(gramian, w, c):
    """<g_w, g_0> + c |g_0| |g_w| and |g_0|, for w scaled to sum 1."""
    gramian, w = gramian.astype(np.longdouble), w.astype(np.longdouble)
    w = w / w.sum()
    length = np.sqrt(max(gramian.sum(), 0)) / len(w)
    value = w @ gramian.mean(1) + c * length * np.sqrt(max(w @ gramian @ w, 0))
    return float(value), float(length)


@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        *((k, "float32") for k in (2, 40)),
        (40, "float64"),
        *(pytest.param(k, "float32", marks=pytest.mark.slow) for k in (8, 128)),
        *(pytest.param(k, "float64", marks=pytest.mark.slow) for k in (2, 8)),
    ],
)
def test_conflict_averse_gap(k, dtype):
    """Dual value minus the worst gain of the direction: 0 exactly at the optimum."""
    c = 0.5
    found = solve(lambda gramian: conflict_averse_weights(gramian, c), k, dtype)
    assert np.all(found >= 0)
    for name, gramian, p in zip(FAMILIES, gramians(k, dtype), found, strict=True):
        exact = gramian.astype(np.float64)
        value, length = dual_value(gramian, p, c)
        weights = p.astype(np.float64) + 1 / k
        gains = exact @ weights
        # Rounding of the entries of G bears on sums of them.
        rounding = 20 * np.finfo(dtype).eps * (np.abs(exact) @ weights).max()
        size = (np.abs(exact) @ weights)[np.argmin(gains)]
        if name in WELL_POSED:
            assert value - gains.min() <= 1e-5 * size + rounding, name
            radius = np.sqrt(max(p @ exact @ p, 0))
            np.testing.assert_allclose(radius, c * length, rtol=2e-3, err_msg=name)
        else:
            assert np.isfinite(p).all()


@pytest.mark.parametrize("c", [0.1, 0.5, 1.0, 2.0])
def test_conflict_averse_for_two_tasks_is_a_line_search(c):
    """K = 2 leaves one unknown: the dual, convex in it, by golden sections."""
    for seed in range(4):
        rows = np.random.default_rng(seed).normal(size=(2, 3)) * [[1], [3]]
        gramian = rows @ rows.T

        def dual(x, gramian=gramian):
            return dual_value(gramian, np.array([x, 1 - x]), c)[0]

        best = scipy.optimize.minimize_scalar(
            dual, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
        )
        best = min(best.fun, dual(0.0), dual(1.0))
        p = np.asarray(weights_of(gramian.astype("float32"), np.float32(c)))
        assert dual_value(gramian, p, c)[0] <= best + 1e-5 * abs(gramian).max()
        radius = np.sqrt(p @ gramian @ p)
        np.testing.assert_allclose(radius, c * dual_value(gramian, p, c)[1], rtol=1e-4)


def test_conflict_averse_leaves_out_absent_and_zero_rows():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(6, 9)).astype("float32")
    present = np.array([1, 0, 1, 1, 0, 1], bool)
    gramian = rows @ rows.T
    everybody = np.ones(6, bool)
    found = np.asarray(weights_of(gramian, 0.5, present))
    alone = weights_of(gramian[present][:, present], 0.5)
    np.testing.assert_array_equal(found[~present], 0)
    np.testing.assert_allclose(found[present], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights_of(gramian * 0, 0.5, everybody), 0)
    np.testing.assert_array_equal(weights_of(gramian, 0.5, ~everybody), 0)
