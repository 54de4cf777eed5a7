"""The base of all transformations of per-task gradients."""

from collections.abc import Callable
from typing import Any

import optax

from mtopt.errors import expect, expect_plain
from mtopt.evaluation import Evaluation, split
from mtopt.member import Member
from mtopt.points import Nowhere
from mtopt.prepare_evaluation import prepare_evaluation

Change = Callable[[Evaluation, Any], tuple[Evaluation, Any]]


def row_transformation(
    num_tasks: int,
    change: Change,
    init: Callable[[Any], Any] = lambda shared: optax.EmptyState(),
    least_losses: Any = None,
) -> Member:
    """A transformation of per-task gradients, to stand before an aggregator.

    Args:
      num_tasks: K, at least 1.
      change: ``(evaluation, state) -> (evaluation, state)``; the rows, the points where
        they were taken, and the heads of the one that it returns leave the
        transformation. :meth:`mtopt.Evaluation.scaled` changes rows in every space;
        behind rows that it replaces otherwise, without ``points``, no aggregator can
        work in the space of the representation.
      init: the shared parameters to the state before the first step.
      least_losses: the lowest losses that it takes; see :class:`mtopt.Rule`.

    Returns:
      An optax transformation: rows in, rows out. The gradients of the tasks' own
      parameters pass through it too.

    Raises:
      UserError: for fewer than one task, or, on update, for rows without the task axis
        or a misspelt keyword.

    Example:
      >>> def halve(evaluation, state):
      ...     return evaluation.scaled(jnp.full(2, 0.5)), state
      >>> import jax.numpy as jnp, mtopt
      >>> tx = mtopt.chain(row_transformation(2, halve), mtopt.equal_weighting(2))
      >>> direction, _ = tx.update(jnp.eye(2), tx.init(jnp.zeros(2)))
      >>> print(direction)
      [0.25 0.25]
    """
    expect_plain("num_tasks", num_tasks)
    expect(num_tasks >= 1, "num_tasks", num_tasks, "at least 1")

    def start(params: Any) -> Any:
        return init(split(params)[0])

    def see(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        evaluation: Evaluation | None = None,
        **others: Any,
    ) -> tuple[Any, Any, Evaluation | None]:
        seen = prepare_evaluation(num_tasks, updates, params, evaluation, others)
        changed, state = change(seen, state)
        points = changed.points
        if isinstance(points, Nowhere) and not isinstance(seen.points, Nowhere):
            points = Nowhere(change.__qualname__.split(".")[0])
        if evaluation is not None:
            evaluation = evaluation.replace(
                rows=changed.rows,
                heads=changed.heads,
                points=points,
                unchanged=changed.unchanged,
            )
        return changed.gradients, state, evaluation

    return Member(start, see, least_losses)
