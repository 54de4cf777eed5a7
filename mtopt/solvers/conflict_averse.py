"""The best worst-case descent in a ball around the mean gradient: CAGrad's solve."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mtopt.linalg import divide_or_zero, uniform_over
from mtopt.options import Number
from mtopt.solvers.dense import (
    check_gramian,
    cholesky,
    cholesky_solve,
    correlation,
    matvec,
)


def conflict_averse_weights(
    gramian: Float[Array, "K K"],
    radius: float | Float[Array, ""],
    present: Bool[Array, " K"] | None = None,
) -> Float[Array, " K"]:
    r"""The correction p that makes g_0 + J^T p the best direction for the worst task.

    .. math::
       \max_d \min_k \langle g_k, d \rangle \quad \text{subject to} \quad
       \|d - g_0\| \le c \|g_0\|

    with g_0 the mean of the K gradients and c the radius. Its dual minimises
    :math:`\langle g_w, g_0 \rangle + c \|g_0\| \|g_w\|` over w in the simplex, where
    :math:`g_w = J^\top w`, and then :math:`p = c \|g_0\| w / \|g_w\|`. That dual has
    a kink at g_w = 0, next to which a Newton method crawls. Written for p itself it has
    none. In the units s of the rows' lengths and :math:`\|g_0\|` of the correction, p
    = s v, the optimality conditions are

    .. math::
       z = C v + \beta - \theta s \ge 0, \quad v \ge 0, \quad v_k z_k = 0, \qquad
       v^\top C v = c^2

    with beta_k the cosine of g_k and g_0 and theta the gain of the worst task. A
    Mehrotra predictor-corrector takes steps in (v, z, theta) with one factor an
    iteration, 20 times in float32 and 30 in float64. At the optimum v^T C v grows with
    theta at the rate 2 s^T v, which stands in for the rate of the linearised equations
    where that is smaller; and any v bounds theta from above by its dual value, to which
    theta is clipped. C includes four units of rounding of s s^T, so that v stays finite
    where g_w can be zero.

    Args:
      gramian: G = J J^T, ``[K, K]``, float32 or float64, K >= 1, finite.
      radius: c, above 0, a number or an array.
      present: which tasks take part, ``[K]``; ``None`` for all. The mean is over them.

    Returns:
      p >= 0, ``[K]``, dtype of ``gramian``, with ``|J^T p| = c |g_0|``. It is 0 for
      absent tasks and for rows of length zero, which count in the mean but have no say
      in the worst case.

    Raises:
      UserError: ``gramian`` is not a square float32 or float64 matrix, or
        ``present`` does not have its K entries.

    Example:
      >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
      >>> print(conflict_averse_weights(rows @ rows.T, 0.5).round(4))
      [0.2041 0.    ]

    Source: Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, 2021,
    arXiv 2110.14048, which solves the dual by SLSQP on the host.
    """
    check_gramian(gramian, present)
    if present is None:
        present = jnp.ones(len(gramian), bool)
    matrix, scale = correlation(gramian, present)
    mean = uniform_over(present).astype(gramian.dtype)
    products = matvec(jnp.where(present[:, None] & present[None, :], gramian, 0), mean)
    length = jnp.sqrt(jnp.maximum(jnp.vdot(mean, products), 0))
    beta = divide_or_zero(scale * products, length)
    s = scale / jnp.where(jnp.any(scale > 0), jnp.max(scale), 1)
    v = _interior_point(matrix, beta, s, jnp.asarray(radius, gramian.dtype))
    return length * scale * v


@jax.jit
def _interior_point(
    matrix: Float[Array, "K K"],
    beta: Float[Array, " K"],
    s: Float[Array, " K"],
    c: Number,
) -> Float[Array, " K"]:
    """v, in the unknowns of ``conflict_averse_weights``."""
    dtype, k = matrix.dtype, len(matrix)
    eps = jnp.finfo(dtype).eps
    matrix = matrix + 4 * eps * s[:, None] * s[None, :]

    def iterate(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        v, z, theta, rho = state
        factor = cholesky(matrix + jnp.diag(z / v + rho))
        along = cholesky_solve(factor, s)
        image = matvec(matrix, v)
        gradient = image + beta - theta * s
        rate = jnp.maximum(jnp.vdot(image, along), 0.5 * jnp.vdot(s, v))
        lacking = 0.5 * (c**2 - jnp.vdot(v, image))

        def direction(target: Float[Array, " K"]) -> tuple[Array, Array, Array]:
            dv = cholesky_solve(factor, target - gradient)
            dtheta = (lacking - jnp.vdot(image, dv)) / rate
            dv = dv + dtheta * along
            return dv, target - z - z / v * dv, dtheta

        def reach(dv: Float[Array, " K"], dz: Float[Array, " K"]) -> Float[Array, ""]:
            return jnp.maximum(jnp.max(-dv / v), jnp.max(-dz / z))

        dv, dz, _ = direction(jnp.zeros_like(v))
        step = 1 / jnp.maximum(1, reach(dv, dz))
        gap = jnp.vdot(v, z)
        left = jnp.clip(jnp.vdot(v + step * dv, z + step * dz) / gap, 0, 1)
        dv, dz, dtheta = direction((left**3 * gap / k - dv * dz) / v)
        step = 1 / jnp.maximum(1, reach(dv, dz) / 0.99)
        new_v, new_z = v + step * dv, z + step * dz
        norm = jnp.sqrt(jnp.maximum(jnp.vdot(new_v, matvec(matrix, new_v)), 0))
        bound = (jnp.vdot(beta, new_v) + c * norm) / jnp.vdot(s, new_v)
        new_theta = jnp.minimum(theta + step * dtheta, bound)
        valid = jnp.all(jnp.isfinite(new_v) & (new_v > 0)) & jnp.isfinite(new_theta)
        valid &= jnp.all(jnp.isfinite(new_z) & (new_z > 0))
        return (
            jnp.where(valid, new_v, v),
            jnp.where(valid, new_z, z),
            jnp.where(valid, new_theta, theta),
            jnp.where(valid, rho, 100 * rho),
        )

    start = (
        jnp.full((k,), c / k**0.5, dtype),
        jnp.ones((k,), dtype),
        jnp.zeros((), dtype),
        jnp.full((), (4 + k) * eps, dtype),
    )
    return lax.fori_loop(0, 20 if dtype == jnp.float32 else 30, iterate, start)[0]
