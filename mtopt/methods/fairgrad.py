"""FairGrad: alpha-fair gains of the tasks."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import with_tasks_at_rest
from mtopt.options import Number
from mtopt.registry import method
from mtopt.solvers import bargaining_weights


@method(family="gramian", traits=("non-conflicting",))
def fairgrad(
    num_tasks: int,
    *,
    alpha: Number = 2.0,
    scale: Number = 1.0,
    max_norm: Number | None = None,
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Weights with :math:`(G w)_k = w_k^{-1/\alpha}`: alpha-fair resource allocation.

    .. math::
       d = \operatorname*{argmax}_{\|d\| \le \epsilon}
           \sum_k \frac{\langle g_k, d \rangle^{1 - \alpha}}{1 - \alpha}
         \;\propto\; \sum_k w_k g_k

    alpha = 1 is Nash-MTL, alpha towards 0 the sum of the gradients, alpha towards
    infinity the best worst case. Every gain :math:`\langle g_k, d \rangle` is positive.
    Scaling all gradients by c scales d by :math:`c^{(1 - \alpha) / (1 + \alpha)}`. See
    :func:`mtopt.solvers.bargaining_weights`.

    Args:
      num_tasks: K, at least 1.
      alpha: fairness, above 0. The authors' experiments use 2, the default of their
        code and LibMTL's is 1.
      scale: what multiplies the weights, above 0. The authors' code has K.
      max_norm: the largest norm of d after that, above 0; None for no clip. The
        authors' code has 1. The norm is that of the gradients in ``space``.
      space: where the gradients of the Gramian are taken: ``"parameters"``, or
        ``"representation"``, a cheaper upper bound.
      heads: ``"plain"`` leaves a head its own gradient (the authors' code);
        ``"weighted"`` differentiates the weighted loss (LibMTL).

    Returns:
      An aggregator. In the space of the representation it needs a problem.

    Raises:
      UserError: for an unknown option, or a number that is not above 0.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = fairgrad(2, alpha=1.0)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.077, 0.999, 0.999]

    Nothing to balance:
      one task: along its gradient; equal losses: as any others; a zero gradient:
      left out; all zero: d = 0.

    References:
      Ban and Ji, Fair Resource Allocation in Multi-Task Learning, 2024, arXiv
      2402.15638.

    Differences from released code:
      It calls a least-squares solver on the host from weights 1/K, which fails on
      badly scaled gradients. The published runs are ``alpha=2, scale=K, max_norm=1``.
      Weights stay finite at Pareto stationarity. A task at rest (a zero gradient) has
      no say, and weight 1, by which its own parameters still learn.
    """
    expect_number("alpha", alpha, above=0)
    expect_number("scale", scale, above=0)
    if max_norm is not None:
        expect_number("max_norm", max_norm, above=0)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        weights = scale * bargaining_weights(gramian, present, alpha=alpha)
        weights = at_most(max_norm, weights, gramian)
        return with_tasks_at_rest(weights, gramian, present), memory

    return on_gramian(num_tasks, weigh, heads=heads, space=space)


def at_most(
    max_norm: Number | None, weights: Float[Array, " K"], gramian: Float[Array, "K K"]
) -> Float[Array, " K"]:
    """The weights, scaled down so that the norm of their direction is ``max_norm``."""
    if max_norm is None:
        return weights
    squared = jnp.vdot(weights, gramian @ weights, precision="highest")
    return weights / jnp.maximum(1, jnp.sqrt(jnp.maximum(squared, 0)) / max_norm)
