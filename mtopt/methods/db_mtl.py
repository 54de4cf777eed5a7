"""DB-MTL: logarithms balance the losses, one common length the gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mtopt.aggregation import Aggregator, Reduced, row_weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import (
    row_norms,
    scale_rows,
    some_rows,
    where_present,
    zero_rows,
)
from mtopt.options import Number
from mtopt.per_task import scale_heads
from mtopt.registry import method
from mtopt.rule import Solution

EPSILON = 1e-8


@method(family="gradients")
def db_mtl(
    num_tasks: int, *, beta: Number = 0.9, sigma: Number = 0.0, heads: str = "plain"
) -> Aggregator:
    r"""Dual balancing: gradients of log losses, averaged, stretched to the longest.

    .. math::
       \hat g_k \leftarrow \beta_t \hat g_k
           + (1 - \beta_t) \nabla \log(L_k + \epsilon), \qquad
       d = \sum_k \frac{\max_j \|\hat g_j\|}{\|\hat g_k\| + \epsilon}\, \hat g_k

    with :math:`\beta_t = \beta / t^\sigma`, :math:`\epsilon` 1e-8 and the average
    starting from zero. The direction does not change with the scale of any loss.

    Args:
      num_tasks: K, at least 1.
      beta: how much of the average stays, 0 (no average) to below 1.
      sigma: how fast that decays, at least 0.
      heads: ``"plain"``: a head moves along the gradient of its own log loss, as in
        the released code; ``"weighted"``: along the stretched one.

    Returns:
      An aggregator. It reads the losses, which should be positive: one below zero
      counts as zero. Its memory is as large as the rows.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import mtopt
      >>> tx = db_mtl(2, beta=0.)
      >>> jacobian = jnp.array([[3., 4.], [0., 50.]])
      >>> known = mtopt.Evaluation(losses=jnp.array([1., 10.]))
      >>> direction, _ = tx.update(
      ...     jacobian, tx.init(jnp.zeros(2)), evaluation=known)
      >>> print(direction.round(1))
      [3. 9.]

    Nothing to balance:
      one task: along its gradient; equal losses: weights of its own; a zero
      gradient: left out; all zero: d = 0.

    References:
      Lin et al., Dual-Balancing for Multi-Task Learning, 2023, arXiv 2308.12029.

    Differences from released code:
      A task absent from the batch keeps its average and its own count t. Norms are
      taken of scaled rows, so that a loss near zero overflows nothing.
    """
    expect_number("beta", beta, at_least=0, below=1)
    expect_number("sigma", sigma, at_least=0)

    def inverse(losses: Float[Array, " K"]) -> Float[Array, " K"]:
        return 1 / (jnp.maximum(losses, 0).astype(float) + EPSILON)

    def start(shared: Any) -> tuple[Any, Int[Array, " K"]]:
        return zero_rows(shared, num_tasks), jnp.zeros(num_tasks, jnp.int32)

    def reduce(memory: Any, evaluation: Evaluation) -> Reduced:
        rows, present, losses = evaluation.rows, evaluation.present, evaluation.losses
        averages, counts = memory
        counts = counts + present
        keep = beta / jnp.maximum(counts, 1).astype(float) ** sigma
        logs = scale_rows(inverse(losses), rows)
        moved = jax.tree.map(
            jnp.add, scale_rows(keep, averages), scale_rows(1 - keep, logs)
        )
        averages = where_present(present, moved, averages)
        norms = row_norms(some_rows(averages, num_tasks))
        longest = jnp.max(jnp.where(present, norms, 0))
        averaged = optax.tree.cast_like(averages, rows)
        # Without a gradient yet, only the task's own parameters can see its weight.
        weights = jnp.where(norms > 0, longest / (norms + EPSILON), 1)
        return weights, averaged, (averages, counts)

    rule = row_weighting(
        num_tasks, reduce, heads=heads, memory=start, least_losses=0.0
    ).rule

    def solve(memory: Any, evaluation: Evaluation) -> Solution:
        """Heads too descend the logarithms."""
        solution = rule.solve(memory, evaluation)
        if not evaluation.knows("heads"):
            return solution
        own = scale_heads(evaluation.heads, inverse(evaluation.losses))
        return solution._replace(gradients=solution.gradients.replace(heads=own))

    return Aggregator(rule.replace(solve=solve))
