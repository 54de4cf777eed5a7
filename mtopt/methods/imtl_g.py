"""IMTL-G: weights that give d the same projection on every unit gradient."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.evaluation import Evaluation
from mtopt.linalg import with_tasks_at_rest
from mtopt.methods.conflict_free import equal_projections
from mtopt.registry import method


@method(family="gramian", traits=("mean-like", "non-conflicting"))
def imtl_g(
    num_tasks: int, *, space: str = "parameters", heads: str = "plain"
) -> Aggregator:
    r"""Impartial multi-task learning, its gradient half: equal projections.

    With the unit gradients :math:`u_k = g_k / \|g_k\|`, the norms N and the cosines C,
    of the Gramian :math:`G = N C N`:

    .. math::
       d = \sum_k w_k g_k, \quad \langle u_k, d \rangle = p \text{ for all } k, \quad
       \sum_k w_k = 1 \qquad \Longrightarrow \qquad
       w = \frac{v}{\sum_k v_k}, \quad v = N^{-1} C^+ 1

    **The guard.** :math:`J^T v` has the projection +1 on every unit gradient, so that
    it descends every loss (it is ConFIG's direction). The paper's normalisation makes
    the projection :math:`p = 1 / \sum_k v_k`. Entries of v may be negative, and as
    their sum falls to 0 the step grows without bound; below 0 it has changed sign and
    ascends every loss, even where no two gradients conflict, as for the rows (.1, .1,
    .02), (1, 0, 0) and (0, 1, 0). Hence

    .. math:: w = \frac{v}{\max(\sum_k v_k, \; \tfrac12 \sum_k |v_k|)}

    is what is computed. It is the paper's solution wherever the positive entries of v
    outweigh the negative ones three to one, thus whenever the paper's weights are
    non-negative. Beyond that it keeps the direction, never ascends, changes
    continuously with the gradients, and is never longer than twice the longest one.
    Turning the sign alone would leave steps without bound on both sides of 0; another
    direction to fall back on would jump.

    Args:
      num_tasks: K, at least 1.
      space: where the projections are taken; ``"representation"`` is the paper's own
        choice, ``"parameters"`` that of nash-mtl and TorchJD (LibMTL has both). See
        :func:`mtopt.methods.mgda.mgda`.
      heads: ``"plain"`` leaves a task's own parameters their own gradient, as in the
        paper and LibMTL; ``"weighted"`` differentiates the weighted loss, as nash-mtl
        does.

    Returns:
      An aggregator.

    Raises:
      UserError: for an unknown option.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = imtl_g(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> _, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(w), 4) for w in state.weights]
      [0.5923, 0.4077]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Liu et al., Towards Impartial Multi-task Learning, ICLR 2021 (not on arXiv:
      openreview.net/forum?id=IMPnRXEWpvr).

    Differences from released code:
      The guard. They solve a system of K - 1 equations, which is singular where
      gradients repeat or depend on each other; :math:`C^+` then gives the least-squares
      projections. A task whose gradient is zero is left out of d; its weight is 1, by
      which weighted heads still learn.
    """

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        weights = imtl_g_weights(gramian)
        return with_tasks_at_rest(weights, gramian, evaluation.present), memory

    return on_gramian(num_tasks, weigh, heads=heads, reduction="mean", space=space)


def imtl_g_weights(gramian: Float[Array, "K K"]) -> Float[Array, " K"]:
    """The weights of equal projections, guarded against ascent.

    Args:
      gramian: G = J J^T, ``[K, K]``; a row of zeros has weight 0.

    Returns:
      The weights, ``[K]``: of either sign, of sum 1 unless the guard acts.
    """
    v, _ = equal_projections(gramian, jnp.ones_like(jnp.diagonal(gramian)))
    total = jnp.maximum(v.sum(), jnp.abs(v).sum() / 2)
    return v / jnp.where(total > 0, total, 1)
