"""Equal weighting: descend the mean of the losses."""

from typing import Any

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.registry import method
from mtopt.simplex import uniform_over


@method(family="baseline", traits=("mean-like",))
def equal_weighting(
    num_tasks: int, *, reduction: str = "mean", heads: str = "weighted"
) -> Aggregator:
    r"""Descends the mean (or sum) of the losses, the baseline of every comparison.

    .. math:: d = \frac{1}{|P|} \sum_{k \in P} g_k

    over the tasks P present in the batch. With shared and own parameters alike it is
    the gradient of the averaged loss, at the cost of one backward pass.

    Args:
      num_tasks: K, at least 1.
      reduction: ``"mean"`` over the present tasks, the scale of a convex combination;
        ``"sum"``, as LibMTL's ``EW`` and nash-mtl's ``ls`` have it, is K times that
        (no difference under Adam, K times the learning rate under SGD).
      heads: ``"weighted"`` differentiates the averaged loss; ``"plain"`` leaves a head
        its own gradient, whatever the number of tasks.

    Returns:
      An aggregator.

    Raises:
      UserError: for an unknown option.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = equal_weighting(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> direction.tolist()
      [1.0, 1.0, 1.0]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Kurin et al., In Defense of the Unitary Scalarization for Deep Multi-Task
      Learning, 2022, arXiv 2201.04122. Others call it linear scalarization (LS) or
      equal weighting (EW).
    """
    expect_one_of("reduction", reduction, ("mean", "sum"))

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        if reduction == "sum":
            return present.astype("float32"), memory
        return uniform_over(present), memory

    return weighting(num_tasks, weigh, heads=heads, reduction=reduction)
