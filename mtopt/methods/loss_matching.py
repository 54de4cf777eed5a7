"""Loss matching: every task weighs what gives its loss the size of a reference's."""

from typing import Any

import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_index, expect_number
from mtopt.evaluation import Evaluation
from mtopt.options import Integer, Number
from mtopt.registry import method


@method(family="losses", traits=("task-bound",))
def loss_matching(
    num_tasks: int,
    *,
    reference: Integer = 0,
    epsilon: Number = 1e-8,
    heads: str = "weighted",
) -> Aggregator:
    r"""Weighs each loss so that it is as large as the one of a reference task.

    .. math:: w_k = \mathrm{sg}\left(\frac{L_r}{L_k + \epsilon}\right), \quad
       L = \sum_k w_k L_k, \qquad d = L_r \sum_k \nabla \log(L_k + \epsilon)

    with sg the constant that derivatives do not see. The unit of a loss changes
    nothing but, for the reference, the length of d: it is
    :func:`mtopt.methods.scale_invariant.scale_invariant` times the reference's loss,
    so that steps get smaller as that one is learned.

    Where the reference has no label in a batch, the geometric mean of the other tasks'
    losses takes its place.

    Args:
      num_tasks: K, at least 1.
      reference: r, the index of the reference task among the sorted names, 0 to K - 1.
      epsilon: above 0, in units of the losses; what keeps a loss of 0 finite. The
        released code has none.
      heads: ``"weighted"`` differentiates the weighted loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative: a negative loss
      is weighed like one of 0.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an index out of range, an epsilon that is not above 0, or an
        unknown head rule.

    Example:
      >>> import mtopt
      >>> tx = loss_matching(2, reference=1)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 4.])))
      >>> state.weights.tolist(), direction.tolist()
      ([2.0, 1.0], [-2.0, 3.0, 3.0])

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: left
      out; all zero: d = 0.

    References:
      Valvano et al., Learning to Segment from Scribbles using Multi-scale Adversarial
      Attention Gates, 2021, arXiv 2007.01152, where the supervised loss is given the
      size of the adversarial one.

    Differences from released code:
      Any number of tasks, where the code has two; the epsilon.
    """
    expect_index("reference", reference, num_tasks)
    expect_number("epsilon", epsilon, above=0)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses = jnp.maximum(evaluation.losses, 0)
        present = evaluation.present
        logs = jnp.where(present, jnp.log(losses + epsilon), 0)
        mean = jnp.exp(logs.sum() / jnp.maximum(present.sum(), 1))
        matched = jnp.where(present[reference], losses[reference], mean)
        return matched / (losses + epsilon), memory

    return weighting(num_tasks, weigh, heads=heads, least_losses=0.0)
