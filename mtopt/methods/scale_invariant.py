"""Scale-invariant scalarization: descend the sum of the logarithms of the losses."""

from typing import Any

import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.options import Number
from mtopt.registry import method


@method(family="losses")
def scale_invariant(
    num_tasks: int, *, epsilon: Number = 1e-8, heads: str = "weighted"
) -> Aggregator:
    r"""Descends the sum of log losses, which the unit of no loss can change.

    .. math:: L = \sum_k \log(L_k + \epsilon), \qquad w_k = \frac{1}{L_k + \epsilon}

    over the tasks present in the batch, where the losses are large against epsilon.
    It is the stateless fixed point of :func:`mtopt.methods.imtl_l.imtl_l`.

    Args:
      num_tasks: K, at least 1.
      epsilon: above 0, in units of the losses; what keeps a loss of 0 finite. 1e-8 as
        in FAMO's and DB-MTL's logarithms; 1e-20 in the warm-up of STCH; 1 gives the
        log(1 + loss) of SamsungLabs/MTL, which is not invariant. nash-mtl has none.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative: a negative loss
      is weighed like one of 0.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an epsilon that is not above 0, or an unknown head rule.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = scale_invariant(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 4.])))
      >>> state.weights.tolist(), direction.tolist()
      ([0.5, 0.25], [-0.5, 0.75, 0.75])

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: left
      out; all zero: d = 0.

    References:
      Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv 2202.01017,
      where it is the baseline SI.

    Differences from released code:
      Only the epsilon, see above.
    """
    expect_number("epsilon", epsilon, above=0)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses = evaluation.losses
        return 1 / (jnp.maximum(losses, 0) + epsilon), memory

    return weighting(num_tasks, weigh, heads=heads, least_losses=0.0)
