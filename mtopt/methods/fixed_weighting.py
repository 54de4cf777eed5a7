"""Fixed weighting: descend a weighted sum of the losses, the weights given."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect, expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.options import Number, Numbers
from mtopt.per_task import in_words
from mtopt.registry import method


@method(
    family="baseline",
    example=lambda num_tasks: {"weights": _rising(num_tasks)},
    traits=("mean-like", "task-bound"),
)
def fixed_weighting(
    num_tasks: int,
    *,
    weights: Numbers | Mapping[str, Number],
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends a sum of the losses with constant weights, tuned by hand or by grid.

    .. math:: d = \sum_k w_k g_k

    Well-tuned constants match many adaptive methods, so a comparison without them
    says little. The weights are used as given, not normalised, and the loss of an
    absent task is 0.

    Args:
      num_tasks: K, at least 1.
      weights: one non-negative finite number per task, not all zero: in the sorted
        order of the task names, or by name, which the problem's names must then equal.
      heads: ``"weighted"`` differentiates the weighted loss; ``"plain"`` leaves a head
        its own gradient.

    Returns:
      An aggregator.

    Raises:
      UserError: for another number of weights, or negative ones; on update, for weights
        of tasks that the problem does not have.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = fixed_weighting(2, weights=(1., 2.))
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> direction.tolist()
      [8.0, 3.0, 3.0]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Xin et al., Do Current Multi-Task Optimization Methods in Deep Learning Even
      Help?, 2022, arXiv 2209.11379, on how far tuned constants go.
    """
    names = tuple(sorted(weights)) if isinstance(weights, Mapping) else None
    if isinstance(weights, Mapping):
        weights = [weights[name] for name in sorted(weights)]
    array = expect_per_task("weights", weights, num_tasks, at_least=0)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        if names is not None and evaluation.knows("problem"):
            known = evaluation.problem.names
            expect(known == names, "the tasks of weights", names, in_words(known))
        return jnp.asarray(array, "float32"), memory

    return weighting(num_tasks, weigh, heads=heads)


def _rising(num_tasks: int) -> tuple[float, ...]:
    """Unequal weights that sum to 1."""
    return tuple(2 * (k + 1) / (num_tasks * (num_tasks + 1)) for k in range(num_tasks))
