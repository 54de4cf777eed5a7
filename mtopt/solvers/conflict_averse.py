"""The best worst-case descent in a ball around the mean gradient: CAGrad's solve."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mtopt.linalg import divide_or_zero
from mtopt.options import Number
from mtopt.simplex import uniform_over
from mtopt.solvers.dense import check_gramian, correlation, matvec
from mtopt.solvers.nonnegative_qp import nonnegative_qp

PROGRAMS = 8


def conflict_averse_weights(
    gramian: Float[Array, "K K"],
    radius: float | Float[Array, ""],
    present: Bool[Array, " K"] | None = None,
) -> Float[Array, " K"]:
    r"""The correction p that makes g_0 + J^T p the best direction for the worst task.

    .. math::
       \max_d \min_k \langle g_k, d \rangle \quad \text{subject to} \quad
       \|d - g_0\| \le c \|g_0\|

    with g_0 the mean of the K gradients and c the radius. For a given gain theta of the
    worst task, the nearest such d is a quadratic program in p, the multipliers of
    :math:`\langle g_k, d \rangle \ge \theta`; in units s of the rows' lengths and
    :math:`\|g_0\|` of the correction, p = s v, with beta_k the cosine of g_k and g_0:

    .. math::
       \min_{v \ge 0} \tfrac12 v^\top C v - (\theta s - \beta)^\top v, \qquad
       \|d - g_0\|^2 = v^\top C v

    That distance is convex in theta. Its Newton step to c is the bound that v, scaled
    to sum 1, sets theta by the dual of the problem,

    .. math::
       \theta \le \frac{\langle \beta, v \rangle + c \sqrt{v^\top C v}}{s^\top v}

    which holds for every v >= 0, so that theta only falls, whatever rounding does.
    Eight programs (:func:`mtopt.solvers.nonnegative_qp`) do, the first at theta = 0,
    which has a solution always. Of the v, scaled into the ball, the one with the best
    worst gain is returned.

    Where 0 is in the hull of the rows (always, nearly, for more tasks than twice their
    directions), c < 1 gives a theta below 0 and d on the ball; c >= 1 gives theta = 0
    and the nearest d to g_0 that harms no task, d = 0 where the hull surrounds 0.

    In float32 the worst gain is within 2e-4 of its optimum, in units of the worst row's
    length and :math:`\|g_0\|` (float64: 1e-12). A hull that passes 0 at 1e-4 of the
    rows' lengths is not told from one that holds it by a Gramian in float32.

    Args:
      gramian: G = J J^T, ``[K, K]``, float32 or float64, K >= 1, finite.
      radius: c, above 0, a number or an array.
      present: which tasks take part, ``[K]``; ``None`` for all. The mean is over them.

    Returns:
      p >= 0, ``[K]``, dtype of ``gramian``, with ``|J^T p| = c |g_0|``, or less where
      the worst gain is 0 whatever is added. It is 0 for absent tasks and for rows of
      length zero, which count in the mean but have no say in the worst case.

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
    v = _search(matrix, beta, s, jnp.asarray(radius, gramian.dtype))
    return length * scale * v


@jax.jit
def _search(
    matrix: Float[Array, "K K"],
    beta: Float[Array, " K"],
    s: Float[Array, " K"],
    c: Number,
) -> Float[Array, " K"]:
    """v, in the unknowns of ``conflict_averse_weights``."""
    eps = jnp.finfo(matrix.dtype).eps
    taking_part = s > 0

    def distance(v: Float[Array, " K"]) -> Float[Array, ""]:
        return jnp.sqrt(jnp.maximum(jnp.vdot(v, matvec(matrix, v)), 0))

    def per_length(values: Float[Array, " K"]) -> Float[Array, " K"]:
        return jnp.where(taking_part, values / jnp.where(taking_part, s, 1), jnp.inf)

    def worst_gain(v: Float[Array, " K"]) -> tuple[Array, Array]:
        """Of all tasks, and what rounding makes of it.

        In units of the shortest row, the gain of a long one is a small difference of
        large numbers: a few roundings more for all, lest noise pass for the worst gain.
        """
        gains = per_length(beta + matvec(matrix, v) + 8 * eps * (1 + c))
        worst = jnp.argmin(gains)
        size = jnp.abs(beta) + matvec(jnp.abs(matrix), v)
        return gains[worst], eps * per_length(size)[worst]

    def iterate(i: Any, state: tuple[Array, Array, Array]) -> tuple[Array, ...]:
        theta, best, gain = state
        # A constraint so far off binds at no v in the ball.
        v = nonnegative_qp(matrix, jnp.maximum(theta * s - beta, -4 * (1 + c)))
        v = jnp.where(taking_part, v, 0)
        length = distance(v)
        inside = v * jnp.minimum(1, c / jnp.where(length > 0, length, 1))
        found, rounding = worst_gain(inside)
        better = found > gain + rounding
        share = v / jnp.maximum(jnp.max(v), jnp.finfo(v.dtype).tiny)
        bound = jnp.vdot(beta, share) + c * distance(share)
        bound = bound / jnp.vdot(s, share)
        theta = jnp.where(i == 0, highest, theta)
        theta = jnp.where(bound < theta, bound, theta)
        return theta, jnp.where(better, inside, best), jnp.where(better, found, gain)

    highest = jnp.min(per_length(beta + c * jnp.sqrt(jnp.diagonal(matrix))))
    nothing = jnp.zeros_like(beta)
    start = jnp.minimum(highest, 0), nothing, worst_gain(nothing)[0]
    return lax.fori_loop(0, PROGRAMS, iterate, start)[1]
