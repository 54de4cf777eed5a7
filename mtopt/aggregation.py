"""Aggregators: per-task gradients in, one direction out, by a rule."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from optax.experimental import aggregating

from mtopt.errors import UserError, expect, expect_one_of, expect_plain
from mtopt.evaluation import Evaluation, split
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import as_complex, as_real, only_present, task_numbers
from mtopt.points import certain
from mtopt.prepare_evaluation import prepare_evaluation
from mtopt.rule import Memory, PenaltyGradient, Rule, Solution

Gramian = Float[Array, "K K"]
REDUCTIONS = ("mean", "sum", "share", "none")
Weighed = tuple[Float[Array, " K"], Memory]  # weights, memory
Reduced = tuple[Float[Array, " K"], Any, Memory]  # weights, rows, memory
InitMemory = Callable[[Any], Memory]


class WeightingState(NamedTuple):
    """State of an aggregator.

    Attributes:
      weights: the weights of the last update, ``[K]``, before ``task_weights``; read
        them anywhere with ``optax.tree.get(opt_state, "weights")``.
      memory: what the rule remembers between steps.
    """

    weights: Float[Array, " K"]
    memory: Memory


@jax.tree_util.register_static  # as a tuple it would be made anew of init and update
class Aggregator(aggregating.Aggregator):
    """An optax transformation from per-task gradients to one direction, by a rule.

    It is optax's own type for such transformations, and stands in a chain between
    transformations of rows and ordinary optax.

    Args:
      rule: how it decides; wrappers read it, and make another aggregator of it.

    Raises:
      UserError: for fewer than one task, an unknown head rule, or, on update, for
        gradients without the task axis or a misspelt keyword.

    Example:
      >>> import mtopt
      >>> tx = mtopt.mgda(2)
      >>> tx.rule.num_tasks, tx.rule.heads
      (2, 'weighted')
    """

    rule: Rule

    def __new__(cls, rule: Rule) -> "Aggregator":
        """The optax pair ``(init, update)`` of a rule."""
        expect_plain("num_tasks", rule.num_tasks)
        expect(rule.num_tasks >= 1, "num_tasks", rule.num_tasks, "at least 1")
        expect_one_of("heads", rule.heads, ("weighted", "plain"))
        expect_one_of("reduction", rule.reduction, REDUCTIONS)

        def init(params: Any) -> WeightingState:
            shared, _ = split(params)
            weights = task_numbers(shared, rule.num_tasks, 1 / rule.num_tasks)
            return WeightingState(weights, rule.init(shared))

        def update(
            updates: Any,
            state: Any,
            params: Any = None,
            *,
            evaluation: Evaluation | None = None,
            **others: Any,
        ) -> tuple[Any, WeightingState]:
            seen = prepare_evaluation(
                rule.num_tasks, updates, params, evaluation, others
            )
            weights, memory, gradients = rule.solve(state.memory, seen)
            weights = jnp.where(seen.present, weights, 0).astype(state.weights.dtype)
            direction = _direction(rule, weights, gradients, rule.penalty(seen))
            if rule.after_step is not None:
                if seen.after is None:
                    raise UserError(
                        "this method learns from the step that its chain makes: build "
                        "the optimizer with mtopt.chain(...) in place of "
                        "optax.chain(...), and hand update an evaluation"
                    )
                memory = rule.after_step(memory, seen, seen.after(direction))
            return direction, WeightingState(weights, memory)

        self = super().__new__(cls, init, update)
        self.rule = rule
        return self


def weighting(
    num_tasks: int,
    weigh: Callable[[Memory, Evaluation], Weighed],
    *,
    heads: str,
    reduction: str = "none",
    memory: InitMemory = lambda shared: (),
    from_rows: bool = False,
    gradients: Callable[[Evaluation], Evaluation] = lambda evaluation: evaluation,
    least_losses: Any = None,
) -> Aggregator:
    r"""An aggregator from a function that gives every task a weight.

    .. math:: d = \sum_k w_k t_k g_k

    with :math:`w` from ``weigh``, zero for absent tasks, and :math:`t` the
    ``task_weights`` that users and wrappers set: they multiply the solution, since
    scaling a row before a min-norm solve would raise its weight instead.

    Args:
      num_tasks: K, at least 1.
      weigh: ``(memory, evaluation) -> (weights, memory)``; see
        :class:`mtopt.Evaluation` for all that it may read.
      heads: ``"weighted"``: a task's own parameters move along ``w_k t_k`` times their
        gradient, as when the weighted loss is differentiated; ``"plain"``: along their
        gradient alone.
      reduction: how the weights hang on the number of present tasks; see
        :class:`mtopt.rule.Rule`.
      memory: shared parameters to the initial memory of the method.
      from_rows: True if ``weigh`` reads the rows, which then exist anyway and are
        summed; False pulls the weights back through the loss instead, in one backward
        pass, where no transformation before this one has changed the rows.
      gradients: from the evaluation to the one whose gradients are summed.
      least_losses: the lowest losses that ``weigh`` takes, a number or ``[K]``; None:
        any. 0 where it divides by them, or takes their ratios or logarithms.

    Returns:
      The aggregator. ``updates`` is ``{"shared": rows, "tasks": head gradients}``, or
      any other tree of rows: then all of it is shared.

    Raises:
      UserError: as :class:`Aggregator`.

    Example:
      >>> import mtopt
      >>> def by_loss(memory, evaluation):
      ...     return evaluation.losses / evaluation.losses.sum(), memory
      >>> tx = weighting(2, by_loss, heads="weighted")
      >>> known = mtopt.Evaluation(losses=jnp.array([1., 3.]))
      >>> direction, _ = tx.update(jnp.eye(2), tx.init(jnp.zeros(2)), evaluation=known)
      >>> print(direction)
      [0.25 0.75]
    """

    def solve(memory: Memory, evaluation: Evaluation) -> Solution:
        if from_rows:
            rows = TaskGradients(num_tasks, evaluation.rows)
            evaluation = evaluation.summing(rows)
        weights, memory = weigh(memory, evaluation)
        weights = jnp.where(evaluation.present, weights, 0)
        return Solution(weights, memory, gradients(evaluation))

    rule = Rule(
        num_tasks,
        memory,
        solve,
        heads,
        reduction,
        gradients,
        least_losses=least_losses,
    )
    return Aggregator(rule)


def on_gramian(
    num_tasks: int,
    weigh: Callable[[Memory, Gramian, Evaluation], Weighed],
    *,
    heads: str,
    reduction: str = "none",
    space: str = "parameters",
    memory: InitMemory = lambda shared: (),
    least_losses: Any = None,
) -> Aggregator:
    """An aggregator from a function of the Gramian of the gradients.

    Args:
      num_tasks: K, at least 1.
      weigh: ``(memory, gramian, evaluation) -> (weights, memory)``; the rows and
        columns of absent tasks in ``gramian`` are zero.
      heads: see :func:`weighting`.
      reduction: see :func:`weighting`.
      space: where the gradients are taken: ``"parameters"``, or ``"representation"``,
        which costs K passes through the heads and one through the encoder. For
        disjoint inputs the latter's Gramian is diagonal. What a transformation before
        makes of the rows it makes of the representation's too.
      memory: see :func:`weighting`.
      least_losses: see :func:`weighting`.

    Returns:
      The aggregator; in the space of the representation it needs a problem.

    Raises:
      UserError: for an unknown space, as :class:`Aggregator`, and, on update in the
        space of the representation, behind a transformation of rows that has no
        counterpart there (:func:`mtopt.task_momentum`), or in ``optax.chain``, which
        tells of none: write :func:`mtopt.chain`. Where the update alone is compiled,
        with the evaluation as an argument, the latter gives NaN.
    """
    expect_one_of("space", space, ("parameters", "representation"))
    own = space == "parameters"

    def weigh_products(memory: Memory, evaluation: Evaluation) -> Weighed:
        find = evaluation.gramian if own else evaluation.representation_gramian
        products = only_present(find(), evaluation.present)
        weights, memory = weigh(memory, products, evaluation)
        return weights if own else certain(weights, evaluation.points), memory

    aggregator = weighting(
        num_tasks,
        weigh_products,
        heads=heads,
        reduction=reduction,
        memory=memory,
        least_losses=least_losses,
    )
    if not own:
        return aggregator
    rule = aggregator.rule

    def solve(memory: Memory, evaluation: Evaluation) -> Solution:
        """What has answered once is summed, too."""
        asked = evaluation.task_gradients()
        return rule.solve(memory, evaluation.summing(asked))

    return Aggregator(rule.replace(solve=solve))


def row_weighting(
    num_tasks: int,
    reduce: Callable[[Memory, Evaluation], Reduced],
    *,
    heads: str,
    reduction: str = "none",
    memory: InitMemory = lambda shared: (),
    least_losses: Any = None,
) -> Aggregator:
    r"""An aggregator from a function that makes the rows to be summed.

    .. math:: d = \sum_k w_k t_k r_k

    for methods whose direction is not in the span of this step's gradients: masked
    coordinate by coordinate, or averaged over steps.

    Args:
      num_tasks: K, at least 1.
      reduce: ``(memory, evaluation) -> (weights, rows, memory)``: the weights w and
        the rows r, a tree like ``evaluation.rows``; those of absent tasks are zeros.
        Both are real: a complex leaf is an array of pairs, ``[K, ..., 2]``.
      heads: see :func:`weighting`.
      reduction: see :func:`weighting`.
      memory: see :func:`weighting`.
      least_losses: see :func:`weighting`.

    Returns:
      The aggregator.

    Raises:
      UserError: as :class:`Aggregator`.
    """

    def start(shared: Any) -> Memory:
        return memory(as_real(shared))

    def solve(memory: Memory, evaluation: Evaluation) -> Solution:
        given = evaluation.rows
        seen = evaluation.replace(rows=as_real(given))
        weights, rows, memory = reduce(memory, seen)
        weights = jnp.where(evaluation.present, weights, 0)
        summed = evaluation.replace(rows=as_complex(rows, given))
        return Solution(weights, memory, summed)

    rule = Rule(num_tasks, start, solve, heads, reduction, least_losses=least_losses)
    return Aggregator(rule)


def gradients_of(
    part: Callable[[Any], Any],
) -> Callable[[Evaluation], Evaluation]:
    """The gradients of another problem, such as a part of the batch, to be summed.

    For the argument ``gradients`` of :func:`weighting`.

    Rows that a transformation made out of the step's are summed themselves.

    Args:
      part: the problem of a step to the one whose gradients are summed, such as a part
        of its batch.
    """

    def gradients(evaluation: Evaluation) -> Evaluation:
        if not evaluation.unchanged:
            return evaluation

        def pullback(weights: Float[Array, " K"], also: Any) -> Any:
            pulled = part(evaluation.problem).pullback(evaluation.params, weights)
            if also is None:
                return pulled
            return evaluation.plus_representation(pulled, also)

        return evaluation.replace(pullback=pullback)

    return gradients


def rule_of(aggregator: optax.GradientTransformation, wrapper: str) -> Rule:
    """The rule of the aggregator that a wrapper takes, or an error by name.

    Args:
      aggregator: what the wrapper got.
      wrapper: its name, for the error.

    Raises:
      UserError: for anything but an aggregator, such as a chain, whose other members a
        wrapper would run in its own rhythm too.
    """
    if isinstance(aggregator, Aggregator):
        return aggregator.rule
    raise UserError(
        f"{wrapper} got a {type(aggregator).__name__}: expected an aggregator alone, "
        f"such as {wrapper}(mtopt.mgda(3)), with the rest of the chain around it"
    )


def replaceable(rule: Rule, wrapper: str, *, across_steps: bool) -> Rule:
    """The rule, where a wrapper may replace the weights that it finds.

    Args:
      rule: of the aggregator that the wrapper takes.
      wrapper: its name, for the error.
      across_steps: whether weights of one step are to multiply the rows of another.

    Raises:
      UserError: for a rule with weights for more than one sum, or, across steps, with
        rows that it makes anew in each.
    """
    if not rule.one_sum:
        raise UserError(
            f"{wrapper} replaces the weights of one sum, and flat_regions has two: "
            f"write flat_regions({wrapper}(...)), not the other way round"
        )
    if across_steps and rule.gradients is None:
        raise UserError(
            f"{wrapper} got an aggregator whose sum belongs to the step that it solves "
            "in (rows of its own making, or task weights): weights of another step "
            "cannot take the place of its own"
        )
    return rule


def _direction(
    rule: Rule,
    weights: Float[Array, " K"],
    gradients: Evaluation,
    penalties: tuple[PenaltyGradient, ...],
) -> Any:
    """The weighted sum of the gradients, plus those of the penalties."""
    also = _total(*(penalty.representation for penalty in penalties))
    shared = gradients.weighted_gradient(weights, also)
    if not gradients.knows("heads"):
        return shared
    heads = gradients.heads
    if rule.heads == "weighted":
        heads = gradients.weighted_heads(weights)
    own = [penalty.heads for penalty in penalties]
    if also is not None:
        below = gradients.problem.pull_to_tasks(gradients.params, also)
        own += [] if below is None else [below]
    return {"shared": shared, "tasks": _total(heads, *own)}


def _total(*trees: Any) -> Any:
    """The sum of trees, None where there are none."""
    if not trees:
        return None
    return functools.reduce(optax.tree.add, trees)
