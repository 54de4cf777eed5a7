"""Nash-MTL: the tasks bargain for the direction, and every one gains alike."""

from typing import Any

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import with_tasks_at_rest
from mtopt.methods.fairgrad import at_most
from mtopt.options import Number
from mtopt.registry import method
from mtopt.solvers import bargaining_weights


@method(family="gramian", traits=("non-conflicting",))
def nash_mtl(
    num_tasks: int,
    *,
    max_norm: Number | None = 1.0,
    space: str = "parameters",
    heads: str = "weighted",
) -> Aggregator:
    r"""The Nash bargaining solution: weights with :math:`G w = 1 / w`.

    .. math::
       w = \operatorname*{argmin}_{w > 0} \tfrac12 w^\top G w - \sum_k \log w_k,
       \qquad d = \frac{\sum_k w_k g_k}{\max(1, \| \cdot \| / \text{max\_norm})}

    It is the direction in a ball with the largest product of the tasks' gains. Before
    the clip :math:`\|d\| = \sqrt K` whatever the gradients, so with the default the
    direction always has norm 1; rescaling a task's loss changes nothing at all. For K =
    2, d bisects the two gradients. Every gain :math:`\langle g_k, d \rangle` is
    positive. See :func:`mtopt.solvers.bargaining_weights`.

    Args:
      num_tasks: K, at least 1.
      max_norm: the largest norm of d, above 0, as in the authors' code; None for no
        clip. The norm is that of the gradients in ``space``.
      space: where the gradients of the Gramian are taken: ``"parameters"``, or
        ``"representation"``, a cheaper upper bound.
      heads: ``"weighted"`` differentiates the weighted loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. In the space of the representation it needs a problem.

    Raises:
      UserError: for an unknown option or a ``max_norm`` that is not above 0.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = nash_mtl(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.054, 0.706, 0.706]

    Nothing to balance:
      one task: along its gradient; equal losses: as any others; a zero gradient:
      left out; all zero: d = 0.

    References:
      Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv 2202.01017.

    Differences from released code:
      It calls a convex solver on the host up to 20 times a step, which stops at 1e-3 or
      keeps the weights of the step before; this solve is exact and remembers nothing.
      At Pareto stationarity, where the weights are infinite, they stay finite and d
      tends to zero or is far below the clip. The clip scales the weights, hence the
      weighted heads too; in the authors' code it leaves the heads alone. A task at rest
      (a zero gradient) has no say, and weight 1, by which its own parameters still
      learn: a head at zero would never leave it at weight 0.
    """
    if max_norm is not None:
        expect_number("max_norm", max_norm, above=0)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        weights = bargaining_weights(gramian, present)
        weights = at_most(max_norm, weights, gramian)
        return with_tasks_at_rest(weights, gramian, present), memory

    return on_gramian(num_tasks, weigh, heads=heads, space=space)
