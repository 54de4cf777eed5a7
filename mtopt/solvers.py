"""The K x K solves of the field, in the graph: one interior point, fixed work.

A method that weighs K tasks by their Gramian G = J J^T needs the minimiser of a
small convex quadratic, in float32, under ``jit`` and ``vmap``, for row norms
that differ by many powers of ten and rows that repeat or depend on each other.
Three choices make that work:

* **Scaling.** With s_k about 1 / |g_k|, the solve sees the correlation matrix
  C = diag(s) G diag(s), whose diagonal is about one whatever the scale of the
  losses. With s_k a power of two, scaling rounds nothing.
* **A row of ones.** min w^T G w on the simplex has the same minimising direction
  as min w^T G w + tau (sum w - 1)^2 on w >= 0, for every tau > 0: along t w the
  best t leaves tau n / (tau + n), which grows with n = w^T G w. Bounds are then
  the only constraints, and the minimiser stays bounded when the optimum is zero.
* **Interior point.** Its work does not depend on the conditioning, and its path
  is unique where the minimiser is not. What it replaces stops short in float32:
  Frank-Wolfe zigzags and closes the gap as 1 / iterations; projected and
  coordinate descent crawl along the valleys of dependent rows; pivoting between
  active sets cycles when a set of active rows is singular.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError


def min_norm_weights(
    gramian: Float[Array, "K K"], present: Bool[Array, " K"] | None = None
) -> Float[Array, " K"]:
    """The convex weights of the shortest combination of K rows: MGDA's solve.

    The weights are w = argmin w^T G w over w >= 0, sum_k w_k = 1, so that
    d = J^T w is the point nearest the origin in the convex hull of the rows, and
    g_k . d >= |d|^2 for every task k. With s_k the power of two next to
    1 / sqrt(G_kk), q = s / max s and C = diag(s) G diag(s), the solve is
    ``u = nonnegative_qp(C + q q^T, q)`` and w = q u / sum(q u).

    Accuracy, judged in float64 on the Gramian as given, K up to 128: w^T G w
    exceeds the optimum by at most 1e-7 (float64: 1e-14) of the mean squared row
    norm plus 1e-4 (1e-8) of the optimum, also where rows repeat, depend on each
    other, or differ in length by 20 powers of ten; the worst Gramian tried takes
    a third (a hundredth) of that. Scaling G leaves the weights as they are up to
    rounding. Where several w are optimal, w is one of them.

    Args:
      gramian: G = J J^T, ``[K, K]``, float32 or float64, K >= 1, finite, in any
        unit; negative eigenvalues the size of rounding do no harm.
      present: which tasks take part, ``[K]``; ``None`` for all. The others have
        weight exactly 0, and the rest are weighed as if they did not exist.

    Returns:
      The weights, ``[K]``, dtype of ``gramian``, >= 0, of sum 1. A present row of
      length zero is a shortest combination by itself: the weights are then uniform
      over such rows. They are all 0 if no task is present.

    Raises:
      UserError: ``gramian`` is not a square float32 or float64 matrix, or
        ``present`` does not have its K entries.

    Example:
      >>> import jax.numpy as jnp
      >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
      >>> weights = min_norm_weights(rows @ rows.T)
      >>> [round(float(w), 4) for w in weights]
      [0.6, 0.4]

    Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for
    multiobjective optimization", 2012; Sener and Koltun, "Multi-Task Learning as
    Multi-Objective Optimization", 2018, arXiv:1810.04650. They solve the same
    problem by a line search over pairs and by Frank-Wolfe, to a tolerance.
    """
    _check(gramian, present)
    if present is None:
        present = jnp.ones(len(gramian), bool)
    squared = jnp.diagonal(gramian)
    nonzero = squared >= jnp.finfo(gramian.dtype).tiny
    zero, solved = present & ~nonzero, present & nonzero

    _, exponent = jnp.frexp(squared)
    scale = jnp.where(solved, jnp.ldexp(jnp.ones_like(squared), -(exponent // 2)), 0)
    pair = solved[:, None] & solved[None, :]
    correlation = jnp.where(pair, gramian * scale[:, None] * scale[None, :], 0)
    correlation = jnp.clip(correlation, -2, 2)  # larger only where G is no Gramian
    correlation += jnp.diag((~solved).astype(scale.dtype))
    q = scale / jnp.where(jnp.any(solved), jnp.max(scale), 1)

    u = nonnegative_qp(correlation + q[:, None] * q[None, :], q)
    weights = jnp.where(jnp.any(zero), zero.astype(q.dtype), q * u)
    return weights / jnp.where(jnp.any(present), jnp.sum(weights), 1)


def nonnegative_qp(
    matrix: Float[Array, "K K"], q: Float[Array, " K"]
) -> Float[Array, " K"]:
    """Minimises 1/2 u^T M u - q^T u over u >= 0 by a primal-dual interior point.

    The optimality conditions are z = M u - q >= 0, u >= 0 and u_k z_k = 0. Each
    iteration takes one step of Newton's method towards u_k z_k = sigma mu, where
    mu = u^T z / K and Mehrotra's predictor chooses sigma: a first solve aims at 0,
    sigma is the cube of the fraction of mu that remains at the longest such step,
    and a second solve with the same Cholesky factor corrects for it.

    The factor is that of M + diag(z / u) + rho. It is a proximal term, not a
    change of the problem: its fixed points are the exact minimisers. A ``rho`` of
    (4 + K) units of rounding keeps the pivots of a singular M positive; where it
    does not (M indefinite beyond rounding) the step is void and rho grows by 100.

    The number of iterations is fixed: 16 in float32, 20 in float64. By then
    ``nonnegative_qp_residual`` is at the rounding of M u; the hardest Gramians
    tried (K = 128, singular) need 13 and 18.

    Args:
      matrix: M, ``[K, K]``, symmetric positive semidefinite, float32 or float64,
        with a diagonal of about 1 (scale it first), bounded below on u >= 0.
      q: the linear term, ``[K]``, entries of about 1 or less.

    Returns:
      The minimiser u, ``[K]``, every entry positive: an entry at its bound is one
      of rounding size.

    Example:
      >>> import jax.numpy as jnp
      >>> u = nonnegative_qp(jnp.array([[1.0, 0.5], [0.5, 1.0]]), jnp.array([1.0, 0.0]))
      >>> print(u.round(4))
      [1. 0.]

    Source: Mehrotra, "On the implementation of a primal-dual interior point
    method", 1992; here with one step length for u and z, as a quadratic needs.
    """
    eps = float(jnp.finfo(matrix.dtype).eps)
    iterations = 16 if eps > 1e-12 else 20

    def iterate(_, state):
        u, z, rho = state
        factor = lax.linalg.cholesky(
            matrix + jnp.diag(z / u + rho), symmetrize_input=False
        )
        gradient = _matvec(matrix, u) - q
        du = _cholesky_solve(factor, -gradient)
        dz = -z - z / u * du
        step = 1 / jnp.maximum(1, _reach(u, z, du, dz))
        gap = jnp.vdot(u, z)
        left = jnp.vdot(u + step * du, z + step * dz) / gap
        target = (left**3 * gap / len(q) - du * dz) / u

        du = _cholesky_solve(factor, target - gradient)
        dz = target - z - z / u * du
        step = 1 / jnp.maximum(1, _reach(u, z, du, dz) / 0.995)
        new_u, new_z = u + step * du, z + step * dz
        valid = jnp.all(jnp.isfinite(new_u) & (new_u > 0))
        valid &= jnp.all(jnp.isfinite(new_z) & (new_z > 0))
        return (
            jnp.where(valid, new_u, u),
            jnp.where(valid, new_z, z),
            jnp.where(valid, rho, 100 * rho),
        )

    start = jnp.ones_like(q)
    rho = jnp.full((), (4 + len(q)) * eps, q.dtype)
    return lax.fori_loop(0, iterations, iterate, (start, start, rho))[0]


def nonnegative_qp_residual(
    matrix: Float[Array, "K K"], q: Float[Array, " K"], u: Float[Array, " K"]
) -> Float[Array, ""]:
    """How far u is from solving ``nonnegative_qp``: max_k |min(u_k, (M u - q)_k)|.

    Args:
      matrix: M, ``[K, K]``, symmetric positive semidefinite.
      q: the linear term, ``[K]``.
      u: the candidate, ``[K]``.

    Returns:
      The natural residual, a scalar in the units of u; 0 exactly at a minimiser.

    Example:
      >>> import jax.numpy as jnp
      >>> one = jnp.ones(1)
      >>> print(nonnegative_qp_residual(one[:, None], one, 0.75 * one))
      0.25
    """
    return jnp.max(jnp.abs(jnp.minimum(u, _matvec(matrix, u) - q)))


def _reach(u, z, du, dz):
    """The inverse of the longest step that keeps u and z non-negative."""
    return jnp.maximum(jnp.max(-du / u), jnp.max(-dz / z))


def _cholesky_solve(factor, rhs):
    """Solves L L^T x = rhs."""
    half = lax.linalg.triangular_solve(factor, rhs[:, None], left_side=True, lower=True)
    return lax.linalg.triangular_solve(
        factor, half, left_side=True, lower=True, transpose_a=True
    )[:, 0]


def _matvec(matrix, vector):
    """M v in full float32, which accelerators do not do unasked."""
    return jnp.matmul(matrix, vector, precision=lax.Precision.HIGHEST)


def _check(gramian, present):
    """Raises a UserError for a Gramian or mask of another shape or dtype."""
    k = gramian.shape[0] if gramian.ndim == 2 else 0
    precise = gramian.dtype in (jnp.float32, jnp.float64)
    if not precise or k == 0 or gramian.shape != (k, k):
        raise UserError(
            f"gramian is {gramian.dtype}{list(gramian.shape)}; expected float32 or "
            "float64 [K, K] with K >= 1: compute J @ J.T with float32 accumulation"
        )
    if present is not None and present.shape != (k,):
        raise UserError(
            f"present has shape {list(present.shape)}; expected [{k}], one entry for "
            "each row of gramian: pass the mask of the tasks in the batch"
        )
