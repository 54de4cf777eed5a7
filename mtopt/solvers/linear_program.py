"""Linear programs on the simplex, in the graph: fixed work, for a few tasks."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mtopt.simplex import uniform_over

ITERATIONS = 30
PENALTY = 30.0


def maximise_on_simplex(
    objective: Float[Array, " K"],
    matrix: Float[Array, "m K"],
    bounds: Float[Array, " m"],
    present: Bool[Array, " K"],
) -> Float[Array, " K"]:
    r"""Maximises c^T w over the simplex, subject to A w >= b.

    Constraints may be broken at a price of 30 per unit, in units of the objective's
    largest entry (taken after subtracting its mean, which no w can change):

    .. math:: \max_{w \in \Delta} \; c^T w - 30 \sum_i \max(0, b_i - (A w)_i)

    This has the solution of the program itself wherever that one has multipliers of at
    most 30, and a solution where it has none: the caller looks at A w - b. Mehrotra's
    primal-dual interior point solves it in 30 iterations at most; one whose duality gap
    is at rounding rests, as further steps would only add noise. Accuracy on random
    Gramians with K up to 10: 1e-3 of c and b in float32, 1e-11 in float64.

    Args:
      objective: c, ``[K]``, in any unit.
      matrix: A, ``[m, K]``, rows of about unit size.
      bounds: b, ``[m]``, of about unit size; -2 for a constraint to ignore.
      present: which entries of w may be above 0, ``[K]``.

    Returns:
      The maximiser w, ``[K]``, of sum 1 (0 where nobody is present). Where several are
      optimal it is one between them.

    Example:
      >>> w = maximise_on_simplex(jnp.array([1., 0.]), jnp.array([[-1., 1.]]),
      ...                         jnp.array([-0.5]), jnp.ones(2, bool))
      >>> [round(float(x), 3) for x in w]
      [0.75, 0.25]

    Source: Mehrotra, "On the implementation of a primal-dual interior point method",
    1992.
    """
    num_tasks, num_bounds, dtype = len(objective), len(bounds), objective.dtype
    eps = jnp.finfo(dtype).eps
    share = uniform_over(present).astype(dtype)
    centred = jnp.where(present, objective - share @ objective, 0)
    largest = jnp.max(jnp.abs(centred))
    centred = centred / jnp.where(largest > 0, largest, 1)

    # minimise cost^T x over x = (w, slack, violation) >= 0, subject to A x = b; an
    # absent task's w is a variable of its own, with a cost and no constraint.
    eye, zeros = jnp.eye(num_bounds, dtype=dtype), jnp.zeros((1, 2 * num_bounds), dtype)
    active = present.astype(dtype)
    equality = jnp.block([[matrix * active[None], -eye, eye], [active[None], zeros]])
    target = jnp.append(bounds, (share > 0).any().astype(dtype))
    price = jnp.full((num_bounds,), PENALTY, dtype)
    free = jnp.zeros((num_bounds,), dtype)
    cost = jnp.concatenate([jnp.where(present, -centred, 1), free, price])

    def iterate(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, y, z = state
        ratio = x / z
        weighted = equality * ratio[None]
        normal = _dot(weighted, equality.T)
        ridge = 16 * eps * jnp.maximum(jnp.diagonal(normal), eps)
        factor = jnp.linalg.cholesky(normal + jnp.diag(ridge))
        primal = target - _dot(equality, x)
        dual = cost - _dot(equality.T, y) - z

        def newton(product: Float[Array, " n"]) -> tuple[Array, Array, Array]:
            """The step to a feasible point with x z = product, linearised."""
            change = product / z - x
            right = primal + _dot(equality, ratio * dual - change)
            dy = jax.scipy.linalg.cho_solve((factor, True), right)
            dz = dual - _dot(equality.T, dy)
            return change - ratio * dz, dy, dz

        gap = jnp.vdot(x, z)
        dx, _, dz = newton(jnp.zeros_like(x))
        left = jnp.vdot(x + _step(x, dx) * dx, z + _step(z, dz) * dz) / gap
        dx, dy, dz = newton(left**3 * gap / len(x) - dx * dz)
        along, across = _step(x, dx, 0.99), _step(z, dz, 0.99)
        new = (x + along * dx, y + across * dy, z + across * dz)
        valid = gap > 4 * eps * len(x)
        for part in new:
            valid &= jnp.all(jnp.isfinite(part))
        valid &= jnp.all(new[0] > 0) & jnp.all(new[2] > 0)
        return tuple(
            jnp.where(valid, part, old) for part, old in zip(new, state, strict=True)
        )

    ones = jnp.ones((2 * num_bounds,), dtype)
    x = jnp.concatenate([jnp.where(present, share, 1), ones])
    start = (x, jnp.zeros_like(target), jnp.ones_like(cost))
    x, _, _ = lax.fori_loop(0, ITERATIONS, iterate, start)
    weights = jnp.where(present, x[:num_tasks], 0)
    return weights / jnp.where(present.any(), weights.sum(), 1)


def _step(
    values: Float[Array, " n"], change: Float[Array, " n"], fraction: float = 1.0
) -> Float[Array, ""]:
    """The longest step up to 1 that keeps the values non-negative."""
    return 1 / jnp.maximum(1, jnp.max(-change / values) / fraction)


def _dot(matrix: Array, other: Array) -> Array:
    """A product in full float32, which accelerators do not do unasked."""
    return jnp.matmul(matrix, other, precision=lax.Precision.HIGHEST)
