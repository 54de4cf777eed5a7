"""Geometric loss strategy: descend the geometric mean of the losses."""

from typing import Any

import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.evaluation import Evaluation
from mtopt.registry import method
from mtopt.simplex import mean_over, uniform_over

SMALLEST = 1e-20


@method(
    family="losses",
    traits=("mean-like",),
)
def geometric_loss(num_tasks: int, *, heads: str = "weighted") -> Aggregator:
    r"""Descends the geometric mean of the losses (GLS).

    .. math::
       L = \Big( \prod_{k \in P} L_k \Big)^{1/|P|}
         = \exp \Big( \frac{1}{|P|} \sum_{k \in P} \log L_k \Big),
       \qquad w_k = \frac{L}{|P| \, L_k}

    over the tasks P present in the batch. Rescaling one loss rescales the direction
    and does not turn it.

    Args:
      num_tasks: K, at least 1.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' way);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative: whatever is
      below 1e-20 counts as 1e-20, so that a loss of 0 stays finite.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an unknown head rule.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = geometric_loss(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([1., 4.])))
      >>> [round(float(w), 3) for w in state.weights]
      [1.0, 0.25]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: d = 0;
      all zero: d = 0.

    References:
      Chennupati et al., MultiNet++: Multi-Stream Feature Aggregation and Geometric
      Loss Strategy for Multi-Task Learning, 2019, arXiv 1904.08492.

    Differences from released code:
      LibMTL multiplies the losses, which overflows for many tasks, and reports weights
      other than those its gradient implies. TorchJD raises on negative losses.
    """

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        logs = jnp.log(jnp.maximum(losses, SMALLEST))
        share = uniform_over(present).astype(logs.dtype)
        return share * jnp.exp(mean_over(present, logs) - logs), memory

    return weighting(num_tasks, weigh, heads=heads, reduction="mean", least_losses=0.0)
