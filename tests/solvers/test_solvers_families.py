"""The bargaining, conflict-averse and dual-cone solves, judged in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from mtopt.errors import UserError
from mtopt.solvers import (
    bargaining_residual,
    bargaining_weights,
    conflict_averse_weights,
    dual_cone_projections,
    nonnegative_qp_residual,
)
from mtopt.solvers.dense import correlation


def ill_conditioned(rng, rows):
    """Singular values from 1 to 1e-4: a Gramian of condition 1e8."""
    u, _, v = np.linalg.svd(rows, full_matrices=False)
    return u * np.logspace(0, -4, len(rows)) @ v


WELL_POSED = {
    "random": lambda rng, j: j,
    "correlated": lambda rng, j: j[:1] + j,
    "duplicates": lambda rng, j: j[np.arange(len(j)) % ((len(j) + 1) // 2)],
    "decades_4": lambda rng, j: j * 10 ** rng.uniform(-2, 2, size=(len(j), 1)),
    "decades_10": lambda rng, j: j * 10 ** rng.uniform(-5, 5, size=(len(j), 1)),
    "scale_1e-10": lambda rng, j: 1e-10 * j,
    "scale_1e15": lambda rng, j: 1e15 * j,
}
# A convex combination of the rows is zero, or nearly.
STATIONARY = {
    "conflict": lambda rng, j: j - (0.999 if len(j) > 1 else 0) * j.mean(0),
    "condition_1e8": ill_conditioned,
    "half_rank": lambda rng, j: (
        rng.normal(size=(len(j), (len(j) + 1) // 2)) @ j[: (len(j) + 1) // 2]
    ),
    "opposed": lambda rng, j: rng.normal(size=(len(j), 1)) * j[:1],
    "stationary": lambda rng, j: (
        j - rng.dirichlet(np.ones(len(j))) @ j if len(j) > 1 else j
    ),
}
FAMILIES = WELL_POSED | STATIONARY
SIZES = [1, 2, 8, 40]


@functools.cache
def gramians(k: int, dtype: str) -> np.ndarray:
    """One Gramian a family: ``[families, K, K]``."""
    stack = []
    for family in FAMILIES.values():
        rng = np.random.default_rng(k)
        rows = family(rng, rng.normal(size=(k, max(8, 3 * k))))
        stack.append((rows @ rows.T).astype(dtype))
    return np.stack(stack)


def solve(function, k, dtype):
    """One function on all families of one size, jitted and vmapped."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(gramians(k, dtype))))


def check_by_family(errors, well_posed, stationary):
    for name, error in zip(FAMILIES, errors, strict=True):
        assert error <= (well_posed if name in WELL_POSED else stationary), name


# The bargaining problem. Near stationarity v is large, y = 1 / v the small rest of a
# cancellation, and float32 leaves rounding * K * v^(1 + 1 / alpha) of the residual.


@pytest.mark.parametrize(
    ("k", "dtype", "alpha"),
    [
        *((k, "float32", a) for k in SIZES for a in (1.0, 2.0)),
        (128, "float32", 1.0),
        (8, "float32", 0.5),
        (8, "float32", 4.0),
        (8, "float64", 1.0),
        (40, "float64", 2.0),
    ],
)
def test_bargaining_residual(k, dtype, alpha):
    def both(gramian):
        weights = bargaining_weights(gramian, alpha=alpha)
        return jnp.append(weights, bargaining_residual(gramian, weights, alpha=alpha))

    found = solve(both, k, dtype)
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
                found = bargaining_weights(jnp.asarray(gramian), alpha=alpha)
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
            found = bargaining_weights(jnp.asarray(gramian), alpha=alpha)
            np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_bargaining_leaves_out_absent_and_zero_rows():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8, 12)).astype("float32")
    rows[2] = 0
    present = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
    kept = present & (np.arange(8) != 2)
    gramian = jnp.asarray(rows @ rows.T)
    found = np.asarray(bargaining_weights(gramian, jnp.asarray(present)))
    alone = bargaining_weights(gramian[kept][:, kept])
    np.testing.assert_array_equal(found[~kept], 0)
    np.testing.assert_allclose(found[kept], alone, rtol=2e-6)
    nobody = bargaining_weights(gramian, jnp.zeros(8, bool), alpha=2.0)
    np.testing.assert_array_equal(nobody, 0)


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
        *((k, "float32") for k in (2, 8, 40, 128)),
        *((k, "float64") for k in (2, 8, 40)),
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
        p = np.asarray(conflict_averse_weights(jnp.asarray(gramian, jnp.float32), c))
        assert dual_value(gramian, p, c)[0] <= best + 1e-5 * abs(gramian).max()
        radius = np.sqrt(p @ gramian @ p)
        np.testing.assert_allclose(radius, c * dual_value(gramian, p, c)[1], rtol=1e-4)


def test_conflict_averse_leaves_out_absent_and_zero_rows():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(6, 9)).astype("float32")
    present = np.array([1, 0, 1, 1, 0, 1], bool)
    gramian = jnp.asarray(rows @ rows.T)
    found = np.asarray(conflict_averse_weights(gramian, 0.5, jnp.asarray(present)))
    alone = conflict_averse_weights(gramian[present][:, present], 0.5)
    np.testing.assert_array_equal(found[~present], 0)
    np.testing.assert_allclose(found[present], alone, rtol=1e-5, atol=1e-6)
    for zeros in (gramian * 0, gramian * 0 + 0):
        np.testing.assert_array_equal(conflict_averse_weights(zeros, 0.5), 0)
    nobody = conflict_averse_weights(gramian, 0.5, jnp.zeros(6, bool))
    np.testing.assert_array_equal(nobody, 0)


# The projections.


def unit_rows(gramian):
    return correlation(gramian, jnp.ones(len(gramian), bool))[0]


@pytest.mark.parametrize(
    ("k", "dtype"),
    [*((k, "float32") for k in (*SIZES, 128)), (8, "float64"), (40, "float64")],
)
def test_dual_cone_residual(k, dtype):
    def residual(gramian):
        matrix = unit_rows(gramian)
        found = dual_cone_projections(matrix)
        each = jax.vmap(nonnegative_qp_residual, (None, 0, 0))(matrix, -matrix, found)
        return jnp.max(each)

    single = dtype == "float32"
    errors = solve(residual, k, dtype)
    check_by_family(errors, 1e-6 if single else 1e-14, 5e-4 if single else 1e-8)
    settled = [e for n, e in zip(FAMILIES, errors, strict=True) if n != "stationary"]
    assert max(settled) <= (5e-6 if single else 1e-9)


def test_dual_cone_against_nnls():
    """min |J^T (e_k + u)| over u >= 0 is a non-negative least-squares problem."""
    rows = np.random.default_rng(3).normal(size=(6, 9))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = dual_cone_projections(jnp.asarray(rows @ rows.T, jnp.float32))
    for row, u in zip(rows, found, strict=True):
        exact, _ = scipy.optimize.nnls(rows.T, -row)
        np.testing.assert_allclose(u, exact, atol=5e-6)


@pytest.mark.parametrize(
    "function",
    [bargaining_weights, lambda gramian: conflict_averse_weights(gramian, 0.5)],
)
def test_bad_input_is_told(function):
    with pytest.raises(UserError, match=r"bfloat16\[2, 2\]; expected float32"):
        function(jnp.eye(2, dtype=jnp.bfloat16))


def test_finite_whatever_the_matrix():
    """Indefinite, huge, tiny and contradictory matrices still give finite weights."""
    rng = np.random.default_rng(0)
    rough = gramians(8, "float32").astype(jnp.bfloat16).astype(np.float32)
    stack = [
        *rough,
        np.full((8, 8), 3e38),
        np.full((8, 8), 1e-42),
        -np.eye(8),
        rng.normal(size=(8, 8)),
    ]

    def every(gramian):
        return jnp.concatenate(
            [
                bargaining_weights(gramian),
                bargaining_weights(gramian, alpha=2.0),
                dual_cone_projections(unit_rows(gramian)).ravel(),
            ]
        )

    found = jax.jit(jax.vmap(every))(jnp.asarray(np.stack(stack), jnp.float32))
    assert bool(jnp.all(jnp.isfinite(found) & (found >= 0)))
