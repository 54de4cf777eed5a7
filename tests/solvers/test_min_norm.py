"""The min-norm solve against an independent one, judged in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from mtopt.errors import UserError
from mtopt.solvers import (
    min_norm_weights,
    nonnegative_qp,
    nonnegative_qp_residual,
)


def ill_conditioned(rng, rows):
    """Singular values from 1 to 1e-4: a Gramian of condition 1e8."""
    u, _, v = np.linalg.svd(rows, full_matrices=False)
    return u * np.logspace(0, -4, len(rows)) @ v


FAMILIES = {
    "random": lambda rng, j: j,
    "conflict": lambda rng, j: j - (0.999 if len(j) > 1 else 0) * j.mean(0),
    "correlated": lambda rng, j: j[:1] + 0.1 * j,
    "half_rank": lambda rng, j: (
        rng.normal(size=(len(j), (len(j) + 1) // 2)) @ j[: (len(j) + 1) // 2]
    ),
    "rank_one": lambda rng, j: rng.uniform(0.5, 2, size=(len(j), 1)) * j[:1],
    "opposed": lambda rng, j: rng.normal(size=(len(j), 1)) * j[:1],
    "duplicates": lambda rng, j: j[np.arange(len(j)) % ((len(j) + 1) // 2)],
    "condition_1e8": ill_conditioned,
    "rank_10_noise": lambda rng, j: (
        rng.normal(size=(len(j), 10)) @ rng.normal(size=(10, j.shape[1])) + 1e-3 * j
    ),
    "decades_4": lambda rng, j: j * 10 ** rng.uniform(-2, 2, size=(len(j), 1)),
    "decades_20": lambda rng, j: j * 10 ** rng.uniform(-10, 10, size=(len(j), 1)),
    "stationary": lambda rng, j: (
        j - rng.dirichlet(np.ones(len(j))) @ j if len(j) > 1 else j
    ),
    "scale_1e-10": lambda rng, j: 1e-5 * j,
    "scale_1e10": lambda rng, j: 1e5 * j,
}
SEEDS = 2
SIZES = [1, 2, 5, 40]
MORE_SIZES = [pytest.param(k, marks=pytest.mark.slow) for k in (3, 8, 16, 64)]


@functools.cache
def gramians(k: int, dtype: str) -> np.ndarray:
    """Every family and seed at one K: ``[families * SEEDS, K, K]``."""
    stack = []
    for family in FAMILIES.values():
        for seed in range(SEEDS):
            rng = np.random.default_rng([k, seed])
            rows = family(rng, rng.normal(size=(k, max(8, 3 * k))))
            stack.append((rows @ rows.T).astype(dtype))
    return np.stack(stack)


@functools.cache
def solve(k: int, dtype: str) -> np.ndarray:
    """Our weights for all of ``gramians(k, dtype)``, jitted and vmapped."""
    with jax.enable_x64(True):
        stack = jnp.asarray(gramians(k, dtype))
        return np.asarray(jax.jit(jax.vmap(min_norm_weights))(stack))


def reference(gramian: np.ndarray) -> np.ndarray:
    """Min-norm weights in float64 by scipy's active-set NNLS on a factor of G."""
    gramian = gramian.astype(np.float64)
    scale = 1 / np.sqrt(np.diag(gramian))
    q = scale / scale.max()
    values, vectors = np.linalg.eigh(gramian * scale[:, None] * scale)
    factor = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    target = np.append(np.zeros(len(q)), 1.0)
    u, _ = scipy.optimize.nnls(np.vstack([factor, q]), target, maxiter=1000)
    return q * u / (q @ u)


def squared_norm(gramian: np.ndarray, weights: np.ndarray) -> float:
    """w^T G w in extended precision, for w scaled to sum 1."""
    w = weights.astype(np.longdouble)
    w = w / w.sum()
    return float(w @ gramian.astype(np.longdouble) @ w)


def correlation(gramian: np.ndarray) -> np.ndarray:
    return gramian / np.sqrt(np.outer(np.diag(gramian), np.diag(gramian)))


@pytest.mark.parametrize("k", [*SIZES, *MORE_SIZES])
def test_the_reference_has_no_duality_gap(k):
    """excess <= 2 (w'Gw - min_k (Gw)_k), so a small gap proves the reference."""
    for gramian in gramians(k, "float64")[: list(FAMILIES).index("decades_4") * SEEDS]:
        w = reference(gramian)
        gap = w @ gramian @ w - np.min(gramian @ w)
        assert gap <= 1e-14 * k * np.diag(gramian).mean()


@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        *((k, "float32") for k in SIZES),
        (5, "float64"),
        *(
            pytest.param(k, "float64", marks=pytest.mark.slow)
            for k in (1, 2, 3, 8, 16, 40, 64)
        ),
        *(pytest.param(k, "float32", marks=pytest.mark.slow) for k in (3, 8, 16, 64)),
    ],
)
def test_optimum(k, dtype):
    """w'Gw is the optimum, up to the rounding of G, on every family at once."""
    relative, absolute = {"float32": (1e-4, 1e-7), "float64": (1e-8, 1e-14)}[dtype]
    stack = gramians(k, dtype)
    weights = solve(k, dtype)
    assert weights.dtype == dtype
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0, atol=10 * np.finfo(dtype).eps)
    names = [name for name in FAMILIES for _ in range(SEEDS)]
    for name, gramian, w in zip(names, stack, weights, strict=True):
        exact = reference(gramian)
        optimum = squared_norm(gramian, exact)
        excess = squared_norm(gramian, w) - optimum
        diagonal = np.diag(gramian).astype(np.float64)
        assert excess <= relative * abs(optimum) + absolute * diagonal.mean(), name
        # Stricter: long rows that the optimum leaves out lend no tolerance. In
        # float32 a singular G then sits at the rounding of its entries, hence the 3.
        assert excess <= 3 * (abs(optimum) + absolute * (exact @ diagonal)) * (
            1 if name in ("half_rank", "opposed") else 0.1
        ), name


@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        *((k, "float32") for k in (2, 5, 40)),
        (5, "float64"),
        *(pytest.param(k, "float64", marks=pytest.mark.slow) for k in (2, 40)),
    ],
)
def test_kkt(k, dtype):
    """(Gw)_k >= w'Gw for every task, with equality where w_k > 0."""
    tol = {"float32": 1e-5, "float64": 1e-12}[dtype]
    names = [name for name in FAMILIES for _ in range(SEEDS)]
    weights = solve(k, dtype).astype(np.float64)
    for name, gramian, w in zip(names, gramians(k, dtype), weights, strict=True):
        gramian = gramian.astype(np.float64)
        norms = np.sqrt(np.diag(gramian))
        length = np.sqrt(w**2 @ np.diag(gramian))
        slack = (gramian @ w - w @ gramian @ w) / (norms * length)
        assert np.min(slack) >= -tol, name
        assert np.max(np.abs(w * norms / length * slack)) <= tol, name


def test_eager_jit_and_vmap_agree():
    for name in ("random", "duplicates"):
        index = list(FAMILIES).index(name) * SEEDS
        gramian = jnp.asarray(gramians(5, "float32")[index])
        found = [min_norm_weights(gramian), jax.jit(min_norm_weights)(gramian)]
        values = [squared_norm(np.asarray(gramian), np.asarray(w)) for w in found]
        values += [squared_norm(np.asarray(gramian), solve(5, "float32")[index])]
        assert np.ptp(values) <= 1e-7 * float(jnp.diagonal(gramian).mean())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "weights"),
    [
        ([[2.0, 0.0]], [1.0]),
        ([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], [0.6, 0.4]),
        ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]),
        ([[1.0, 0.0], [2.0, 0.0]], [1.0, 0.0]),
        ([[3.0, 4.0], [-4.0, 3.0]], [0.5, 0.5]),
        ([[0.9, 0.4], [-0.4, 0.6]], [0.369942197, 0.630057803]),
        (np.diag([1.0, 2.0, 3.0]).tolist(), [36 / 49, 9 / 49, 4 / 49]),
        ([[1.0, 0.0], [1.0, 1.0]], [1.0, 0.0]),  # the second is on the boundary
        ([[0.0, 2.0], [9.0, 1.0], [-9.0, 1.0]], [0.0, 0.5, 0.5]),
    ],
)
def test_golden(rows, weights, dtype):
    # Where a weight is 0 without a slack, it is the root of the solve's accuracy.
    tol = {"float32": 2e-6, "float64": 2e-8}[dtype]
    rows = np.array(rows, dtype)
    with jax.enable_x64(True):
        found = jax.jit(min_norm_weights)(rows @ rows.T)
    np.testing.assert_allclose(found, weights, rtol=0, atol=tol)


@pytest.mark.parametrize(
    ("rows", "present", "weights"),
    [
        (np.zeros((3, 2)), None, [1 / 3] * 3),
        (np.zeros((3, 2)), [True, False, True], [0.5, 0, 0.5]),
        (np.eye(3), [False] * 3, [0, 0, 0]),
        (np.zeros((3, 2)), [False] * 3, [0, 0, 0]),
        ([[0, 0], [1, 2], [0, 0], [3, 1]], None, [0.5, 0, 0.5, 0]),
        ([[0, 0], [1, 2], [0, 0], [3, 1]], [True, True, False, True], [1, 0, 0, 0]),
        (
            [[0, 0], [1, 0], [0, 0], [0, 1]],
            [False, True, False, True],
            [0, 0.5, 0, 0.5],
        ),
    ],
)
def test_zero_rows_and_absent_tasks(rows, present, weights):
    rows = np.array(rows, "float32")
    mask = None if present is None else np.array(present)
    found = np.asarray(jax.jit(min_norm_weights)(rows @ rows.T, mask))
    np.testing.assert_allclose(found, weights, rtol=0, atol=2e-7)
    assert np.all(found[np.array(weights) == 0] == 0)


@pytest.mark.parametrize("k", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_absent_is_removed(k):
    """Absent tasks weigh 0, whatever their rows; the rest is the smaller problem."""
    present = np.random.default_rng(k).permutation(np.arange(k) % 3 > 0)
    # The less two rows differ or the nearer d is to 0, the more w amplifies rounding.
    tolerances = {"random": 2e-6, "decades_4": 2e-6, "correlated": 5e-5}
    stack = gramians(k, "float32")[
        [list(FAMILIES).index(n) * SEEDS for n in tolerances]
    ]
    batched = jax.jit(jax.vmap(min_norm_weights, (0, None)))
    found = np.asarray(batched(stack, present))
    reduced = batched(stack[:, present][:, :, present], None)
    assert np.all(found[:, ~present] == 0)
    for ours, theirs, tol in zip(found, reduced, tolerances.values(), strict=True):
        np.testing.assert_allclose(ours[present], theirs, rtol=0, atol=tol)


@pytest.mark.parametrize("k", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_permutation_equivariance(k):
    order = np.random.default_rng(k).permutation(k)
    index = [list(FAMILIES).index(n) * SEEDS for n in ("random", "decades_4")]
    stack = gramians(k, "float32")[index][:, order][:, :, order]
    permuted = jax.jit(jax.vmap(min_norm_weights))(stack)
    straight = solve(k, "float32")[index][:, order]
    np.testing.assert_allclose(permuted, straight, rtol=0, atol=1e-6)


def test_scale_invariance():
    scales = np.array([1e-30, 1e-20, 1e-10, 1e3, 1e10], "float32")
    gramian = gramians(5, "float32")[0]
    scaled = jax.jit(jax.vmap(min_norm_weights))(scales[:, None, None] * gramian)
    plain = np.broadcast_to(solve(5, "float32")[0], scaled.shape)
    np.testing.assert_allclose(scaled, plain, rtol=0, atol=1e-6)


def test_finite_whatever_the_matrix():
    """Indefinite, denormal, huge and contradictory matrices still give weights."""
    rng = np.random.default_rng(0)
    rough = gramians(8, "float32").astype(jnp.bfloat16).astype(np.float32)
    stack = [
        *rough,
        np.full((8, 8), 3e38),
        np.full((8, 8), 1e-42),
        -np.eye(8),
        np.diag(10.0 ** np.linspace(-37, 38, 8)),
        np.outer(*[10.0 ** np.linspace(-18.5, 19, 8)] * 2),
        np.full((8, 8), 3e38) - np.diag(np.full(8, 3e38)) + 1e-37 * np.eye(8),
        rng.normal(size=(8, 8)),
    ]
    stack = np.stack(stack).astype("float32")
    weights = np.asarray(jax.jit(jax.vmap(min_norm_weights))(stack))
    assert np.all(np.isfinite(weights) & (weights >= 0))
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        *((40, "float32"), (8, "float64")),
        pytest.param(8, "float32", marks=pytest.mark.slow),
        pytest.param(40, "float64", marks=pytest.mark.slow),
    ],
)
def test_qp_core_projects_on_the_dual_cone(k, dtype):
    """Many right-hand sides by vmap, singular matrices too: the natural residual.

    min 1/2 v'Cv over v >= e_k is the core at M = C, q = -C e_k, u = v - e_k.
    """
    tol = {"float32": 1e-4, "float64": 1e-9}[dtype]
    names = ("random", "condition_1e8", "half_rank", "duplicates")
    stack = gramians(k, dtype)[[list(FAMILIES).index(n) * SEEDS for n in names]]
    matrices = np.stack([correlation(g) for g in stack])

    def project(matrix, vector):
        u = nonnegative_qp(matrix, vector)
        return u, nonnegative_qp_residual(matrix, vector, u)

    with jax.enable_x64(True):
        every = jax.jit(jax.vmap(jax.vmap(project, (None, 0))))
        u, residual = every(matrices, -matrices)
        assert u.dtype == dtype
        assert float(residual.max()) <= tol


def test_work_is_fixed():
    """No data-dependent loop: the compiled solve has one trip count, no callback."""
    text = jax.jit(min_norm_weights).lower(jnp.eye(3)).as_text()
    assert text.count("stablehlo.while") == 1
    assert "callback" not in text


@pytest.mark.parametrize(
    ("gramian", "present", "message"),
    [
        (jnp.eye(2, dtype=jnp.bfloat16), None, r"bfloat16\[2, 2\]; expected float32"),
        (jnp.zeros((0, 0)), None, r"float32\[0, 0\]; expected .* K >= 1"),
    ],
)
def test_bad_input(gramian, present, message):
    with pytest.raises(UserError, match=message):
        min_norm_weights(gramian, present)
