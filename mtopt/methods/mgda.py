"""MGDA: the shortest vector in the convex hull of the task gradients."""

from typing import Any

import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero
from mtopt.registry import method
from mtopt.solvers import min_norm_weights

NORMALIZATIONS = ("none", "l2", "loss", "loss+")


@method(family="gramian", traits=("mean-like", "non-conflicting"))
def mgda(
    num_tasks: int,
    *,
    normalize: str = "none",
    space: str = "parameters",
    apply_to: str = "original",
    heads: str = "weighted",
) -> Aggregator:
    r"""Multiple-gradient descent: the min-norm point of the hull of the gradients.

    .. math::
       w = \operatorname*{argmin}_{w \in \Delta}
           \Big\| \sum_k w_k \frac{g_k}{n_k} \Big\|^2,
       \qquad d = \sum_k w_k g_k

    With :math:`n_k = 1` the direction has :math:`\langle g_k, d \rangle \ge
    \|d\|^2` for every task: it descends all losses, and vanishes exactly where no
    direction does (Pareto stationarity). The weights solve the quadratic program on
    the K x K Gramian inside the compiled step, to rounding and for any K; see
    :func:`mtopt.solvers.min_norm_weights`.

    Args:
      num_tasks: K, at least 1.
      normalize: the scale n_k of each gradient in the solve: ``"none"`` 1; ``"l2"``
        its norm; ``"loss"`` the loss L_k; ``"loss+"`` both multiplied. Désidéri and
        LibMTL use none by default, Sener and Koltun's experiments ``loss+`` or
        ``l2``, ParetoGNN ``l2``.
      space: where the gradients of the Gramian are taken: ``"parameters"``, or
        ``"representation"`` for MGDA-UB, the upper bound of Sener and Koltun, at the
        cost of K passes through the heads and one through the encoder. For disjoint
        inputs the latter's Gramian is diagonal.
      apply_to: what the weights multiply. ``"original"``: the gradients, as in the
        authors' code and ParetoGNN; with a normalisation d is then not the shortest
        vector of either hull, and need not descend every loss (two unit gradients
        always weigh 1/2 each, so that ``l2`` is then equal weighting for K = 2).
        ``"normalized"``: the scaled gradients, as LibMTL does.
      heads: ``"weighted"`` differentiates the weighted loss (the authors' code);
        ``"plain"`` leaves a head its own gradient (LibMTL).

    Returns:
      An aggregator. It reads the losses for ``loss`` and ``loss+``, and a problem
      for the representation.

    Raises:
      UserError: for an unknown option.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = mgda(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(w), 3) for w in state.weights], abs(direction.round(3)).tolist()
      ([0.6, 0.4], [0.0, 1.0, 1.0])

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: d = 0;
      all zero: d = 0. A solved task holds the others back; see
      :func:`mtopt.without_stationary`.

    References:
      Désidéri, Multiple-gradient descent algorithm (MGDA) for multiobjective
      optimization, Comptes Rendus Mathématique, 2012. Sener and Koltun, Multi-Task
      Learning as Multi-Objective Optimization, 2018, arXiv 1810.04650.

    Differences from released code:
      They solve by Frank-Wolfe or projected gradient to about 1e-3, with two-task
      weights clamped to [0.001, 0.999]; this solve is exact, and a task that is
      absent from the batch does not take part. nash-mtl multiplies d by K:
      ``optax.scale(K)`` after it does the same.
    """
    expect_one_of("normalize", normalize, NORMALIZATIONS)
    expect_one_of("apply_to", apply_to, ("original", "normalized"))

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        norms = jnp.sqrt(jnp.diagonal(gramian))
        scale = jnp.ones_like(norms)
        if normalize in ("l2", "loss+"):
            scale = scale * norms
        if normalize in ("loss", "loss+"):
            scale = scale * jnp.abs(evaluation.losses)
        inverse = divide_or_zero(1.0, scale)
        weights = min_norm_weights(
            gramian * jnp.outer(inverse, inverse), evaluation.present
        )
        return weights * (inverse if apply_to == "normalized" else 1), memory

    least = 0.0 if normalize in ("loss", "loss+") else None
    return on_gramian(
        num_tasks, weigh, heads=heads, reduction="mean", space=space, least_losses=least
    )
