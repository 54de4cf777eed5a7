"""Fair weights: the bargaining problem of Nash-MTL and FairGrad."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from mtopt.options import Number
from mtopt.solvers.dense import (
    check_gramian,
    cholesky,
    cholesky_solve,
    correlation,
    matvec,
)


def bargaining_weights(
    gramian: Float[Array, "K K"],
    present: Bool[Array, " K"] | None = None,
    *,
    alpha: Number = 1.0,
) -> Float[Array, " K"]:
    r"""The weights w > 0 at which every task gains alike: (G w)_k = w_k^(-1/alpha).

    .. math::
       \min_{w > 0} \; \tfrac12 w^\top G w
           - \sum_k \frac{w_k^{1 - 1/\alpha}}{1 - 1/\alpha}

    (with log w at alpha = 1). It is solved in the unknowns v = w / w°, where w° is
    its solution for rows orthogonal to each other, so that v is about one at any scale:

    .. math::
       w°_k = s_k m_k, \quad m_k = s_k^{(\alpha - 1) / (\alpha + 1)}, \qquad
       y_k = \frac{(C (m v))_k}{m_k} + \epsilon v_k^3, \qquad
       \log y_k + \tfrac1\alpha \log v_k = 0

    with s about 1 / \|g\| and C = diag(s) G diag(s). Newton's method on the two last
    equations in (v, y), with steps that keep both positive, takes 16 iterations in
    float32 and 24 in float64.

    Where a convex combination of the gradients is zero (Pareto stationarity) the
    weights of the plain problem are infinite. The cubic term, that of a penalty
    epsilon v^4 / 4, keeps v below about ``epsilon ** -0.25`` for alpha = 1: 700 in
    float32, which two gradients reach that are 0.2 degrees from opposed, and 2e7 in
    float64. Elsewhere it is below rounding.

    Args:
      gramian: G = J J^T, ``[K, K]``, float32 or float64, K >= 1, finite.
      present: which tasks take part, ``[K]``; ``None`` for all.
      alpha: fairness, above 0: 1 is Nash bargaining (proportional fairness), towards 0
        the sum of the gradients, towards infinity max-min fairness. The further from 1,
        the fewer decades between row norms float32 bears.

    Returns:
      The weights, ``[K]``, dtype of ``gramian``: positive, and 0 for absent tasks and
      rows of length zero.

    Raises:
      UserError: ``gramian`` is not a square float32 or float64 matrix, or
        ``present`` does not have its K entries.

    Example:
      >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
      >>> weights = bargaining_weights(rows @ rows.T)
      >>> [round(float(w), 4) for w in weights]
      [0.5915, 0.4071]

    Source: Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv
    2202.01017; Ban and Ji, Fair Resource Allocation in Multi-Task Learning, 2024, arXiv
    2402.15638. They call a convex solver, or a least-squares one, on the host.
    """
    matrix, size, unit, solved = _scaled(gramian, present, alpha)
    return jnp.where(solved, _newton(matrix, size, alpha) * unit, 0)


def bargaining_residual(
    gramian: Float[Array, "K K"],
    weights: Float[Array, " K"],
    present: Bool[Array, " K"] | None = None,
    *,
    alpha: Number = 1.0,
) -> Float[Array, ""]:
    r"""How unfair weights are: the largest relative error of ``bargaining_weights``.

    .. math:: \max_k |v_k^{1/\alpha} y_k - 1|

    in its unknowns. Away from Pareto stationarity, that is
    :math:`\max_k |w_k^{1/\alpha} (G w)_k - 1|`.

    Args:
      gramian: G, ``[K, K]``.
      weights: the candidate, ``[K]``.
      present: which tasks take part, ``[K]``; ``None`` for all.
      alpha: fairness, above 0.

    Returns:
      A scalar without a unit, 0 at the solution.

    Example:
      >>> error = bargaining_residual(jnp.eye(2), jnp.array([1.0, 2.0]))
      >>> round(float(error), 3)
      3.0
    """
    matrix, size, unit, solved = _scaled(gramian, present, alpha)
    v = jnp.where(solved, weights / unit, 1)
    y = matvec(matrix, size * v) / size + _epsilon(gramian) * v**3
    error = jnp.abs(v ** (1 / alpha) * y - 1)
    return jnp.max(jnp.where(solved, error, 0))


@jax.jit
def _newton(
    matrix: Float[Array, "K K"], size: Float[Array, " K"], alpha: Number
) -> Float[Array, " K"]:
    """v, by Newton steps in (v, y)."""
    epsilon = _epsilon(matrix)
    ridge = (4 + len(size)) * jnp.finfo(matrix.dtype).eps
    iterations = 16 if matrix.dtype == jnp.float32 else 24

    def iterate(
        _: Any, state: tuple[Float[Array, " K"], Float[Array, " K"]]
    ) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        v, y = state
        missing = matvec(matrix, size * v) / size + epsilon * v**3 - y
        wanted = -(alpha * jnp.log(y) + jnp.log(v))
        diagonal = 3 * epsilon * v**2 + y / (alpha * v) + ridge
        factor = cholesky(matrix + jnp.diag(diagonal))
        dv = cholesky_solve(factor, size * (y * wanted / alpha - missing)) / size
        dy = y / alpha * (wanted - dv / v)
        reach = jnp.maximum(jnp.max(-dv / v), jnp.max(-dy / y))
        step = 1 / jnp.maximum(1, reach / 0.9)
        new_v, new_y = v + step * dv, y + step * dy
        valid = jnp.all(jnp.isfinite(new_v) & (new_v > 0))
        valid &= jnp.all(jnp.isfinite(new_y) & (new_y > 0))
        return jnp.where(valid, new_v, v), jnp.where(valid, new_y, y)

    start = jnp.ones_like(size)
    return lax.fori_loop(0, iterations, iterate, (start, start))[0]


def _epsilon(matrix: Float[Array, "K K"]) -> np.floating:
    """The coefficient of the penalty that bounds v: 16 roundings of 1, squared.

    Where v is at most 1 / sqrt(rounding), C itself is known well enough to say what v
    is; the penalty is then below the rounding of y.
    """
    return (16 * jnp.finfo(matrix.dtype).eps) ** 2


def _scaled(
    gramian: Float[Array, "K K"], present: Bool[Array, " K"] | None, alpha: Number
) -> tuple[
    Float[Array, "K K"], Float[Array, " K"], Float[Array, " K"], Bool[Array, " K"]
]:
    """C, m, the unit w° of the weights, and which tasks are weighed.

    m is taken relative to the longest row and w° put right for it, since only ratios
    of norms matter to v.
    """
    check_gramian(gramian, present)
    if present is None:
        present = jnp.ones(len(gramian), bool)
    matrix, scale = correlation(gramian, present)
    solved = scale > 0
    inverse = jnp.where(solved, scale, jnp.inf)
    longest = jnp.where(jnp.any(solved), jnp.min(inverse), 1)
    ratio = jnp.where(solved, scale / longest, 1)
    size = ratio ** ((alpha - 1) / (alpha + 1))
    unit = size * ratio * longest ** (2 * alpha / (alpha + 1))
    return matrix, size, unit, solved
