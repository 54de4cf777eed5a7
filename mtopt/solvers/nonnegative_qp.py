"""A convex quadratic on the non-negative orthant, by an interior point."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtopt.solvers.dense import cholesky, cholesky_solve, matvec


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
    return _interior_point(matrix, q)


def nonnegative_qp_residual(
    matrix: Float[Array, "K K"], q: Float[Array, " K"], u: Float[Array, " K"]
) -> Float[Array, ""]:
    """How far u is from solving ``nonnegative_qp``: ``max_k |min(u_k, (M u - q)_k)|``.

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
    return jnp.max(jnp.abs(jnp.minimum(u, matvec(matrix, u) - q)))


def _reach(
    u: Float[Array, " K"],
    z: Float[Array, " K"],
    du: Float[Array, " K"],
    dz: Float[Array, " K"],
) -> Float[Array, ""]:
    """The inverse of the longest step that keeps u and z non-negative."""
    return jnp.maximum(jnp.max(-du / u), jnp.max(-dz / z))


@jax.jit  # so that a caller outside of jit compiles the loop once
def _interior_point(
    matrix: Float[Array, "K K"], q: Float[Array, " K"]
) -> Float[Array, " K"]:
    """The iterations of ``nonnegative_qp``."""
    eps = float(jnp.finfo(matrix.dtype).eps)
    iterations = 16 if eps > 1e-12 else 20

    def iterate(
        _: Any, state: tuple[Array, Array, Array]
    ) -> tuple[Array, Array, Array]:
        u, z, rho = state
        factor = cholesky(matrix + jnp.diag(z / u + rho))
        gradient = matvec(matrix, u) - q
        du = cholesky_solve(factor, -gradient)
        dz = -z - z / u * du
        step = 1 / jnp.maximum(1, _reach(u, z, du, dz))
        gap = jnp.vdot(u, z)
        left = jnp.vdot(u + step * du, z + step * dz) / gap
        target = (left**3 * gap / len(q) - du * dz) / u

        du = cholesky_solve(factor, target - gradient)
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
