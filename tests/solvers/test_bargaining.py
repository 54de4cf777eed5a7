"""The bargaining solve, judged in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from mtopt.solvers import (
    bargaining_residual,
    bargaining_weights,
)
from tests.helpers.gramians import FAMILIES, SIZES, STATIONARY, gramians

ALPHAS = (0.5, 1.0, 2.0, 4.0)
weights_of = jax.jit(bargaining_weights)


@functools.cache
def solutions(k, dtype):
    """Weights and residuals for every alpha, of every family."""

    def both(gramian, alpha):
        weights = bargaining_weights(gramian, alpha=alpha)
        return jnp.append(weights, bargaining_residual(gramian, weights, alpha=alpha))

    with jax.enable_x64(True):
        every = jax.jit(jax.vmap(jax.vmap(both, (0, None)), (None, 0)))
        return np.asarray(every(gramians(k, dtype), np.array(ALPHAS, dtype)))


# The bargaining problem. Near stationarity v is large, y = 1 / v the small rest of a
# cancellation, and float32 leaves rounding * K * v^(1 + 1 / alpha) of the residual.
@pytest.mark.parametrize(
    ("k", "dtype", "alpha"),
    [
        *((k, "float32", a) for k in SIZES for a in (1.0, 2.0)),
        pytest.param(128, "float32", 1.0, marks=pytest.mark.slow),
        (8, "float32", 0.5),
        (8, "float32", 4.0),
        (8, "float64", 1.0),
        pytest.param(40, "float64", 2.0, marks=pytest.mark.slow),
    ],
)
def test_bargaining_residual(k, dtype, alpha):
    found = solutions(k, dtype)[ALPHAS.index(alpha)]
    weights, residuals = found[:, :-1], found[:, -1]
    assert found.dtype == dtype
    assert np.all(np.isfinite(found))
    assert np.all(weights > 0)
    # In units in which alpha = 1 is free of scale, 10 decades of row norms remain 3
    # or more for another alpha, and float32 has 7: the shortest rows are lost in it.
    wide = ("decades_10",) if alpha != 1 else ()
    norms = np.sqrt(np.diagonal(gramians(k, dtype), axis1=1, axis2=2))
    v = (weights * norms ** (2 * alpha / (1 + alpha))).max(axis=1)
    rounding = 5e-5 if dtype == "float32" else 1e-9
    known = 2 * np.finfo(dtype).eps * k * v ** (1 + 1 / alpha)
    for name, residual, noise in zip(FAMILIES, residuals, known, strict=True):
        if name not in wide:
            assert residual <= rounding + (name in STATIONARY) * noise, name


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_bargaining_of_two_nearly_opposed_gradients(alpha):
    """K = 2 by bisection, down to the angles that the Gramian still resolves."""
    for dtype, smallest in (("float32", 1e-4), ("float64", 1e-11)):
        with jax.enable_x64(True):
            for opening in (1e-1, 1e-2, 1e-3, smallest):
                cosine = np.array([[1, opening - 1], [opening - 1, 1]])
                gramian = (cosine * np.outer([1, 10], [1, 10])).astype(dtype)
                found = weights_of(gramian, alpha=np.asarray(alpha, gramian.dtype))
                exact = two_by_bisection(gramian.astype(np.float64), alpha)
                np.testing.assert_allclose(found, exact, rtol=0.01)


def two_by_bisection(gramian, alpha):
    """Both gains are positive for w_2 / w_1 in an interval; here they are fair."""
    opposed = -gramian[0, 1]
    low = opposed / gramian[1, 1]
    length = (np.prod(np.diag(gramian)) - opposed**2) / (opposed * gramian[1, 1])

    def unfairness(share):
        ratio = low + share * length
        gain = gramian[1, 1] * share * length
        return gain * ratio ** (1 / alpha) - opposed * (1 - share) * length

    share = scipy.optimize.brentq(unfairness, 0, 1, xtol=1e-15)
    first = (opposed * (1 - share) * length) ** (-alpha / (1 + alpha))
    return first * np.array([1, low + share * length])


def test_bargaining_against_a_root_finder():
    """Newton in log w, in float64, as in the papers' equation and no other scaling."""
    with jax.enable_x64(True):
        for alpha in (0.5, 1.0, 2.0, 4.0):
            rng = np.random.default_rng(0)
            rows = rng.normal(size=(5, 9)) * 3
            gramian = rows @ rows.T

            def equation(log_w, gramian=gramian, alpha=alpha):
                return gramian @ np.exp(log_w) * np.exp(log_w / alpha) - 1

            alone = -alpha / (1 + alpha) * np.log(np.diag(gramian))
            root = scipy.optimize.least_squares(equation, alone, xtol=1e-15, ftol=1e-15)
            assert np.abs(root.fun).max() < 1e-10
            exact = np.exp(root.x)
            found = weights_of(gramian, alpha=np.asarray(alpha, gramian.dtype))
            np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_bargaining_leaves_out_absent_and_zero_rows():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8, 12)).astype("float32")
    rows[2] = 0
    present = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
    kept = present & (np.arange(8) != 2)
    gramian = rows @ rows.T
    found = np.asarray(weights_of(gramian, present))
    alone = weights_of(gramian[kept][:, kept])
    np.testing.assert_array_equal(found[~kept], 0)
    np.testing.assert_allclose(found[kept], alone, rtol=2e-6)
    nobody = weights_of(gramian, np.zeros(8, bool))
    np.testing.assert_array_equal(nobody, 0)
