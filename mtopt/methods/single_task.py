"""Single-task training: descend the loss of one task, ignore the others."""

from typing import Any

import jax
import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_index
from mtopt.evaluation import Evaluation
from mtopt.options import Integer
from mtopt.registry import method


@method(
    family="baseline",
    example=lambda num_tasks: {"task": 0},
    traits=("mean-like", "task-bound"),
)
def single_task(
    num_tasks: int, *, task: Integer, heads: str = "weighted"
) -> Aggregator:
    """Descends one task's loss alone, with the shared parameters.

    .. math:: d = g_t

    As a control inside a multi-task run: what the shared parameters do for the other
    tasks when only one trains them. (A single-task *baseline* of every task is
    cheaper as K runs on one task each, which is what the experiments train.)

    Args:
      num_tasks: K, at least 1.
      task: t, the index of the task among the sorted names, 0 to K - 1.
      heads: ``"weighted"``: the other tasks' heads stay as they are; ``"plain"``: they
        train too, on a representation that is made for task t.

    Returns:
      An aggregator.

    Raises:
      UserError: for an index out of range, or an unknown head rule.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = single_task(2, task=1)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> direction.tolist()
      [6.0, 1.0, 1.0]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv 2202.01017,
      whose code has it as the weighting ``stl``.
    """
    expect_index("task", task, num_tasks)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        return jax.nn.one_hot(task, num_tasks, dtype=jnp.float32), memory

    return weighting(num_tasks, weigh, heads=heads)
