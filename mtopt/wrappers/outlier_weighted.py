"""R-MTGB's detection of outlier tasks, in the step of any aggregator."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import (
    combine,
    cross_gramian,
    divide_or_zero,
    row_norms,
    scale_rows,
    some_rows,
    task_numbers,
)
from mtopt.options import Integer, Number
from mtopt.rule import Solution, greatest

BOUNDS = (-1.0, 3.0)  # of logits: further out they would hardly move again


class Outliers(NamedTuple):
    """The memory of :func:`outlier_weighted`.

    Attributes:
      outlier_logits: theta, ``[K]``: above 0 for a task that is rather an outlier.
      task_weights: what the aggregator was last handed, ``[K]``.
      updates: how many there were, which tells the phase.
      majority: F, what the majority has asked for, a tree like the shared parameters.
      inner: the memory of the wrapped rule.
    """

    outlier_logits: Float[Array, " K"]
    task_weights: Float[Array, " K"]
    updates: Int[Array, ""]
    majority: Any
    inner: Any


def outlier_weighted(
    aggregator: optax.GradientTransformation,
    *,
    learning_rate: Number = 1.0,
    num_shared: Integer = 50,
    num_partition: Integer | None = None,
    tolerance: Number = 0.3,
    drop_below: Number = 0.1,
) -> Aggregator:
    r"""Down-weights outlier tasks, whose gradients oppose the majority's (R-MTGB).

    Every task has a logit :math:`\theta_k`, 0 at first, and
    :math:`\sigma(\theta_k)` says how much of an outlier it is. F is what the majority
    has asked of the shared parameters so far, and every step has

    .. math::
       a_k &= \cos(g_k, F), \\
       \theta_k &\leftarrow \theta_k
           - \nu\, \sigma(\theta_k) (1 - \sigma(\theta_k)) (a_k + \tau), \\
       t_k &= \frac{1 - \sigma(\theta_k)}{\max_j (1 - \sigma(\theta_j))}, \\
       F &\leftarrow F + \sum_k t_k\, g_k / L_k

    (theta stays in [-1, 3], where :math:`\sigma` is 0.27 to 0.95 and can still turn: a
    task that has served long is let go as fast as a new one), and the aggregator is
    handed the task weights :math:`t`, which multiply the weights that it finds. A task
    with :math:`t_k` below ``drop_below`` is absent from its solve, since a direction
    that spares every task would else still give way to it. Its logit moves on, so it
    can come back.

    *Derivation.* R-MTGB predicts for task k with
    :math:`(1 - \sigma(\theta_k)) F_{non} + \sigma(\theta_k) F_{out}` and descends its
    loss in :math:`\theta_k`, both ensembles being sums of residuals, scaled by
    :math:`1 - \sigma` and :math:`\sigma`. Among shared parameters the residuals are
    the gradients: :math:`F_{non} = F`, to which outliers add less and less. They keep
    to their own parameters: :math:`F_{out} = 0`. With the logarithms of the losses,
    which have no unit, in place of the losses, and to first order,

    .. math:: \frac{\partial}{\partial \theta_k}
       \log L_k\big(x_0 - (1 - \sigma(\theta_k)) F\big)
       = \sigma(\theta_k) (1 - \sigma(\theta_k)) \langle g_k, F \rangle / L_k.

    Beside any other optimizer the length of a sum of gradients means nothing, so
    lengths are divided out. The logarithms matter in F: where equal weighting settles
    between two groups of tasks, their gradients cancel, but the group that it settles
    closer to has the smaller losses, so that F still grows towards what it asks for.
    A task whose gradient points against F, by more than the tolerance :math:`\tau`,
    turns outlier; one that agrees, or has converged and is mere noise, does not. The
    majority must be served for that: an aggregator that follows the worst task, such as
    ``tchebycheff`` or ``pbi``, follows the outliers, and they are not found.

    Three phases follow each other as R-MTGB's three blocks do: all tasks share
    everything and no logit moves; logits move; logits and the direction of the shared
    parameters rest (a zero direction), and tasks train their own parameters only.

    Args:
      aggregator: any aggregator.
      learning_rate: nu, above 0, of the logits. R-MTGB's synthetic experiments move
        trees and logits at 1.
      num_shared: updates of the first phase, at least 0; 50 is the most that the
        paper's grid has.
      num_partition: updates of the second phase, at least 0; None: it never ends.
      tolerance: tau, in [0, 1), a cosine; 0.3 is ours, chosen on planted outliers. At 0
        a task that differs a little from the others ends as an outlier as surely as an
        adversary.
      drop_below: in [0, 1), the task weight below which a task is absent from the
        solve; 0: none ever is. 0.1 is ours.

    Returns:
      An aggregator, which reads the losses: a task adds to F where its loss is above 0;
      losses below zero: see :func:`mtopt.offset_losses`.
      A task's own parameters move along their own gradient in every phase, whatever
      its weight, as R-MTGB's task-specific block does. Read theta with
      ``optax.tree.get(opt_state, "outlier_logits")`` and t with
      ``optax.tree.get(opt_state, "task_weights")``.

    Raises:
      UserError: for an option out of range, or a chain in place of an aggregator.

    Example:
      >>> import mtopt, optax
      >>> tx = outlier_weighted(mtopt.equal_weighting(3), num_shared=0)
      >>> params = jnp.zeros(2)
      >>> state, update = tx.init(params), jax.jit(tx.update)
      >>> rows = jnp.array([[1., 0.], [1., 0.2], [-1., 0.]])
      >>> known = mtopt.Evaluation(losses=jnp.ones(3))
      >>> for _ in range(100):
      ...     direction, state = update(rows, state, params, evaluation=known)
      >>> [round(float(t), 2) for t in optax.tree.get(state, "task_weights")]
      [1.0, 1.0, 0.06]
      >>> [round(float(d), 2) for d in direction]
      [1.0, 0.1]

    References:
      Emami et al., Robust-Multi-Task Gradient Boosting, 2025, arXiv 2507.11411.

    Differences from the paper:
      It boosts trees, and has no such wrapper: this carries over its rule for theta.
      There, outliers share a second ensemble, and theta starts at random, since the
      two ensembles are alike at first; here theta starts at 0, since outliers have
      nothing to share, F counts what the first phase asked for, harm is tolerated up
      to tau, and theta is bounded.
    """
    expect_number("learning_rate", learning_rate, above=0)
    expect_number("num_shared", num_shared, at_least=0)
    if num_partition is not None:
        expect_number("num_partition", num_partition, at_least=0)
    expect_number("tolerance", tolerance, at_least=0, below=1)
    expect_number("drop_below", drop_below, at_least=0, below=1)

    rule = rule_of(aggregator, "outlier_weighted")

    def init(inner: Any, shared: Any) -> Outliers:
        zeros = task_numbers(shared, rule.num_tasks, 0)
        return Outliers(
            zeros,
            jnp.ones_like(zeros),
            jnp.zeros((), jnp.int32),
            jax.tree.map(_zeros, shared),
            inner,
        )

    def solve(memory: Outliers, evaluation: Evaluation) -> Solution:
        logits, present = memory.outlier_logits, evaluation.present
        rows = some_rows(evaluation.rows, rule.num_tasks)
        gain = alignment(rows, memory.majority) + tolerance
        slope = jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)

        done = memory.updates - num_shared
        resting = jnp.array(False) if num_partition is None else done >= num_partition
        moves = present & (done >= 0) & ~resting
        moved = jnp.clip(logits - learning_rate * slope * gain, *BOUNDS)
        logits = jnp.where(moves, moved, logits)
        found = trust(logits, present)
        applied = jnp.where(resting, 0, found)
        if evaluation.knows("task_weights"):
            applied = applied * evaluation.task_weights

        regular = evaluation.restricted_to(present & (found >= drop_below))
        weights, inner, gradients = rule.solve(
            memory.inner, regular.replace(task_weights=applied)
        )
        asked = combine(divide_or_zero(found, evaluation.losses), evaluation.rows)
        seen = jnp.where(present, applied, memory.task_weights)
        memory = Outliers(
            logits.astype(memory.outlier_logits.dtype),
            seen.astype(memory.task_weights.dtype),
            memory.updates + 1,
            jax.tree.map(jnp.add, memory.majority, asked),
            inner,
        )
        return Solution(weights, memory, gradients)

    # The task weights of a step come with its solve: no other step's can replace them.
    changes = {"heads": "plain", "gradients": None}
    least = greatest(0.0, rule.least_losses)
    return Aggregator(rule.remembering(init, solve, least_losses=least, **changes))


def trust(logits: Float[Array, " K"], present: Bool[Array, " K"]) -> Float[Array, " K"]:
    r"""The task weights, :math:`1 - \sigma(\theta_k)` over the largest.

    The largest of all tasks: an outlier is none the less one where it is alone.

    Args:
      logits: theta.
      present: which tasks take part; the others are trusted with 0.

    Example:
      >>> trust(jnp.array([-50., 0., 50.]), jnp.ones(3, bool)).round(2).tolist()
      [1.0, 0.5, 0.0]
    """
    regular = jax.nn.sigmoid(-logits)
    trusted = divide_or_zero(regular, regular.max(keepdims=True))
    return jnp.where(present, trusted, 0)


def alignment(rows: Any, direction: Any) -> Float[Array, " K"]:
    """The cosine of every task's gradient with one direction.

    Args:
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.
      direction: one of the same structure without the axis K.

    Returns:
      ``[K]``, 0 where either has no length.

    Example:
      >>> alignment(jnp.array([[2., 0.], [0., 0.]]), jnp.array([-3., 0.])).tolist()
      [-1.0, 0.0]
    """
    one = some_rows(jax.tree.map(lambda leaf: leaf[None], direction), 1)
    units = [
        scale_rows(divide_or_zero(1.0, row_norms(stack)), stack)
        for stack in (rows, one)
    ]
    return cross_gramian(*units)[:, 0]


def _zeros(leaf: Array) -> Array:
    """In float32 at least: a long sum of small numbers stands still in less."""
    return jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32))
