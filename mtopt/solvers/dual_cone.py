"""Projections of K rows onto their dual cone: the K quadratic programs of UPGrad."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtopt.solvers.dense import cholesky, cholesky_solve


def dual_cone_projections(matrix: Float[Array, "K K"]) -> Float[Array, "K K"]:
    r"""The multipliers that project every row onto the dual cone of all rows.

    .. math::
       U_k = \operatorname*{argmin}_{u \ge 0} \tfrac12 \|(e_k + u)^\top J\|^2
           = \operatorname*{argmin}_{u \ge 0} \tfrac12 u^\top C u + C_k^\top u,
       \qquad C = J J^\top

    so that :math:`J^\top (e_k + U_k)` is the projection of row k onto
    :math:`\{x : J x \ge 0\}`. The K programs share their matrix, and take two stages:

    * **Alternating directions** find nearly all of which entries are zero. An
      iteration is one product of K x K matrices for all programs, with the inverse of
      C + 0.03 made once.
    * **Newton steps** on the optimality conditions, min(u, C u + C_k) = 0, make that
      exact: one factor of the active rows per program. A proximal term, which falls
      from 1e-3 to 1e-6 (float64: 1e-10) over 8 (20) steps, keeps dependent rows from
      making that singular; its fixed points are the exact minimisers. The best
      iterate is kept.

    In float32 the natural residual, ``max |min(U, U C + C)|``, comes to 3e-6 or less,
    also where rows repeat or are nearly dependent, and to 3e-4 or less where a convex
    combination of the rows is zero up to rounding. An interior point for each program
    takes twice as long at K = 40, and diverges in some of the last at K = 128.

    Args:
      matrix: C, ``[K, K]``, symmetric positive semidefinite, float32 or float64, with a
        diagonal of about 1.

    Returns:
      U >= 0, ``[K, K]``, one program a row.

    Example:
      >>> matrix = jnp.array([[1.0, -0.5], [-0.5, 1.0]])
      >>> print(dual_cone_projections(matrix).round(4))
      [[0.  0.5]
       [0.5 0. ]]

    Source: Boyd et al., Distributed optimization and statistical learning via the
    alternating direction method of multipliers, 2011; Rockafellar, Monotone operators
    and the proximal point algorithm, 1976.
    """
    start = _alternate(matrix)
    return _polish(matrix, jnp.where(jnp.isfinite(start), start, 0))


@jax.jit
def _alternate(matrix: Float[Array, "K K"]) -> Float[Array, "K K"]:
    """The programs by the alternating direction method of multipliers."""
    k, penalty, relaxation = len(matrix), 0.03, 1.7
    eye = jnp.eye(k, dtype=matrix.dtype)
    factor = cholesky(matrix + penalty * eye)
    inverse = jax.vmap(cholesky_solve, (None, 0))(factor, eye)
    origin = -_product(matrix, inverse)

    def iterate(_: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        u, y = state
        free = origin + penalty * _product(u - y, inverse)
        ahead = relaxation * free + (1 - relaxation) * u + y
        u = jnp.maximum(ahead, 0)
        return u, ahead - u

    zero = jnp.zeros_like(matrix)
    return lax.fori_loop(0, min(40 + 4 * k, 200), iterate, (zero, zero))[0]


@jax.jit
def _polish(
    matrix: Float[Array, "K K"], start: Float[Array, "K K"]
) -> Float[Array, "K K"]:
    """Newton's method on min(u, C u + C_k) = 0 with a falling proximal term."""
    single = matrix.dtype == jnp.float32
    steps, last = (8, 1e-6) if single else (20, 1e-10)
    decay = math.log(last / 1e-3) / (steps - 1)

    def residual(u: Float[Array, "K K"]) -> Float[Array, " K"]:
        slack = _product(u, matrix) + matrix
        return jnp.max(jnp.abs(jnp.minimum(u, slack)), axis=1)

    def newton(
        u: Float[Array, " K"], column: Float[Array, " K"], proximal: Float[Array, ""]
    ) -> Float[Array, " K"]:
        active = u > _product(matrix, u) + column
        pair = active[:, None] & active[None, :]
        diagonal = jnp.where(active, proximal, 1)
        factor = cholesky(jnp.where(pair, matrix, 0) + jnp.diag(diagonal))
        u = jnp.where(active, u, 0)
        slack = _product(matrix, u) + column
        return u + cholesky_solve(factor, jnp.where(active, -slack, 0))

    def iterate(
        i: Any, state: tuple[Array, Array, Array]
    ) -> tuple[Array, Array, Array]:
        u, best, least = state
        proximal = 1e-3 * jnp.exp(decay * i).astype(u.dtype)
        u = jax.vmap(newton, (0, 0, None))(u, matrix, proximal)
        u = jnp.where(jnp.isfinite(u), u, best)
        feasible = jnp.maximum(u, 0)
        found = residual(feasible)
        better = found < least
        best = jnp.where(better[:, None], feasible, best)
        return u, best, jnp.where(better, found, least)

    state = (start, start, residual(start))
    return lax.fori_loop(0, steps, iterate, state)[1]


def _product(left: Array, right: Array) -> Array:
    """A product in full precision."""
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)
