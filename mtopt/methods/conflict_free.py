"""ConFIG: the direction that has the same angle with every task's gradient."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero, with_tasks_at_rest
from mtopt.options import Numbers
from mtopt.registry import method


@method(family="gramian", traits=("non-conflicting",))
def conflict_free(
    num_tasks: int,
    *,
    preference: Numbers | None = None,
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Conflict-free inverse gradients (ConFIG): one cosine with every gradient.

    With the unit gradients :math:`u_k = g_k / \|g_k\|` as rows of U and the preference
    p:

    .. math::
       \hat d = \frac{U^+ p}{\|U^+ p\|}, \qquad
       d = \Big( \sum_k \langle g_k, \hat d \rangle \Big) \hat d

    Where the gradients are linearly independent, :math:`\cos(g_k, d)` is :math:`p_k`
    times one positive number, so that d descends every loss; the length of d is the
    sum of the projections of all gradients on it. On the Gramian :math:`G = N C N`,
    with the norms N and the cosines C, it is :math:`\hat d \propto J^T N^{-1} C^+ p`.

    Args:
      num_tasks: K, at least 1.
      preference: a positive number for every task, in the sorted order of the task
        names; only their ratios count. None for equal cosines.
      space: where the inner products are taken; see :func:`mtopt.methods.mgda.mgda`.
      heads: ``"plain"`` leaves a task's own parameters their own gradient: the paper's
        networks have none, and its length of d is that of a sum of gradients;
        ``"weighted"`` scales it by the task's weight in d.

    Returns:
      An aggregator. A task whose gradient is zero has no say in d, and weight 1, by
      which weighted heads still learn.

    Raises:
      UserError: for a preference of another length, or not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = conflict_free(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.159, 2.071, 2.071]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Liu et al., ConFIG: Towards Conflict-free Training of Physics Informed Neural
      Networks, 2024, arXiv 2408.11104.

    Differences from released code:
      It inverts U, as large as K models, by least squares; here :math:`C^+` drops the
      eigenvalues below 10 K eps times the largest, eps being the rounding of the
      Gramian's dtype. Where the gradients depend on each other no direction may have
      all those cosines, and both take the least-squares one.
    """
    array = np.ones(num_tasks)
    if preference is not None:
        array = expect_per_task("preference", preference, num_tasks, above=0)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        weights = conflict_free_weights(gramian, jnp.asarray(array, gramian.dtype))
        return with_tasks_at_rest(weights, gramian, evaluation.present), memory

    return on_gramian(num_tasks, weigh, heads=heads, reduction="sum", space=space)


def conflict_free_weights(
    gramian: Float[Array, "K K"], preference: Float[Array, " K"]
) -> Float[Array, " K"]:
    """The weights of ConFIG's direction.

    Args:
      gramian: G = J J^T, ``[K, K]``; a row of zeros has weight 0.
      preference: p, ``[K]``, positive: the cosines of d are in proportion to it.

    Returns:
      The weights, ``[K]``, of either sign.
    """
    weights, projections = equal_projections(gramian, preference)
    _, norms = correlation(gramian)
    # <U^+ p, U^+ p> is p^T C^+ p; the norms of the gradients turn it into a length.
    squared = jnp.vdot(projections, norms * weights)
    length = jnp.vdot(projections, norms)
    return weights * divide_or_zero(length, squared)


def equal_projections(
    gramian: Float[Array, "K K"], projections: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
    r"""The shortest vector with given projections on the unit gradients.

    It is :math:`J^T v` with :math:`v = N^{-1} C^+ p`, N the norms and C the cosines;
    :math:`C^+` drops eigenvalues below 10 K eps times the largest.

    Args:
      gramian: G = J J^T, ``[K, K]``.
      projections: p, ``[K]``; those on a gradient of zero are not asked for.

    Returns:
      v, ``[K]``, and the projections that it has, ``[K]``: p where the gradients are
      linearly independent, else the nearest p that exists.
    """
    cosines, norms = correlation(gramian)
    asked = jnp.where(norms > 0, projections, 0)
    values, vectors = jnp.linalg.eigh(cosines)
    kept = values > 10 * len(values) * jnp.finfo(values.dtype).eps * values[-1]
    parts = jnp.where(kept, _matmul(asked, vectors), 0)
    inverted = _matmul(vectors, parts / jnp.where(kept, values, 1))
    v = divide_or_zero(inverted, norms)
    return v, _matmul(vectors, parts)


def correlation(
    gramian: Float[Array, "K K"],
) -> tuple[Float[Array, "K K"], Float[Array, " K"]]:
    """The cosines of all pairs of gradients, and their norms; 0 for a row of zeros.

    Example:
      >>> import jax.numpy as jnp
      >>> cosines, norms = correlation(jnp.array([[4., -3.], [-3., 9.]]))
      >>> cosines.tolist(), norms.tolist()
      ([[1.0, -0.5], [-0.5, 1.0]], [2.0, 3.0])
    """
    norms = jnp.sqrt(jnp.diagonal(gramian))
    inverse = divide_or_zero(1.0, norms)
    return gramian * inverse[:, None] * inverse[None, :], norms


def _matmul(a: Array, b: Array) -> Array:
    """A product in full float32, which accelerators do not do unasked."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
