"""Any aggregator among the tasks that still have a gradient."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, rule_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import task_numbers, where_present
from mtopt.rule import Solution
from mtopt.stationary import moving


class Moving(NamedTuple):
    """The memory of :func:`without_stationary`.

    Attributes:
      longest: the length of the longest gradient that every task had, ``[K]``.
      inner: the memory of the wrapped rule.
    """

    longest: Float[Array, " K"]
    inner: Any


def without_stationary(aggregator: optax.GradientTransformation) -> Aggregator:
    r"""Leaves tasks whose gradient is zero, to rounding, out of an aggregator.

    .. math:: d = A(\{g_k : \|g_k\| > \tau \max_{s \le t} \|g_k^s\|\})

    with :math:`\tau` 100 roundings. A solved task is Pareto-stationary by itself: its
    zero is in the hull of the gradients, so that MGDA stands still for ever, and it is
    the smallest loss, so that methods of even progress give it all the weight. Here the
    others go on as if it were absent, until its gradient is back. Its length is judged
    by the longest that the same task had: tasks with small losses stay in. The metrics
    of a step say where one decides (:class:`mtopt.Stationary`).

    Args:
      aggregator: A, any aggregator. A task that is left out rests in its memory, as an
        absent one does.

    Returns:
      An aggregator. A task that is left out has weight 1: that moves the shared
      parameters by rounding at most, and its own, if they have a gradient, along it; a
      head at zero hides its task from the shared ones, and is not solved. It reads the
      rows: around a method of losses a step takes K backward passes.

    Raises:
      UserError: for a chain in place of an aggregator.

    Example:
      >>> import mtopt
      >>> rows = jnp.array([[2., 0.], [0., 2.], [0., 0.]])
      >>> for tx in mtopt.mgda(3), without_stationary(mtopt.mgda(3)):
      ...     direction, _ = tx.update(rows, tx.init(jnp.zeros(2)))
      ...     print(direction)
      [0. 0.]
      [1. 1.]

    References:
      Désidéri, Multiple-gradient descent algorithm (MGDA) for multiobjective
      optimization, Comptes Rendus Mathématique, 2012, stops at such a point by
      definition; leaving the task out is ours.
    """
    rule = rule_of(aggregator, "without_stationary")

    def init(inner: Any, shared: Any) -> Moving:
        return Moving(task_numbers(shared, rule.num_tasks, 0), inner)

    def moves(
        memory: Moving, evaluation: Evaluation
    ) -> tuple[Float[Array, " K"], Bool[Array, " K"]]:
        lengths = evaluation.norms().astype(memory.longest.dtype)
        return moving(memory.longest, lengths, evaluation.present)

    def solve(memory: Moving, evaluation: Evaluation) -> Solution:
        longest, at_work = moves(memory, evaluation)
        some = evaluation.restricted_to(at_work)
        weights, inner, gradients = rule.solve(memory.inner, some)
        if rule.gradients is None and gradients.pullback is None:
            # Rows of its own making, such as averages, outlive the gradient.
            gradients = gradients.replace(
                rows=where_present(at_work, gradients.rows, 0)
            )
        weights = jnp.where(evaluation.present & ~at_work, 1, weights)
        return Solution(weights, Moving(longest, inner), gradients)

    after_step = rule.after_step

    def follow(memory: Moving, evaluation: Evaluation, step: Any) -> Moving:
        assert after_step is not None
        some = evaluation.restricted_to(moves(memory, evaluation)[1])
        return memory._replace(inner=after_step(memory.inner, some, step))

    told = follow if after_step is not None else None
    return Aggregator(rule.remembering(init, solve, after_step=told))
