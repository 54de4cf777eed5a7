"""Outlier tasks, found in the step of any aggregator by what training explains."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero, task_numbers
from mtopt.options import Integer, Number
from mtopt.rule import Solution, greatest
from mtopt.simplex import mean_over

MAJORITY = 0.6  # of the tasks; of two halves neither is one
EXPLAINED = 0.3  # of the median task: below, nothing can be told yet
AGREES = 0.6  # of what is explained of the median task
FLOOR = 0.7  # of the tolerance: where a task's weight is 0


class Outliers(NamedTuple):
    """The memory of :func:`outlier_weighted`.

    Attributes:
      seen: how many batches each task was in, ``[K]``.
      num_labels: and with how many labels, ``[K]``.
      mean_losses: per label, over all of training so far, ``[K]``.
      losses_at_mean: likewise, of the mean representation, ``[K]``.
      explained: the share of every task's loss that its samples explain, ``[K]``.
      task_weights: what the aggregator was last handed, ``[K]``.
      inner: the memory of the wrapped rule.
    """

    seen: Int[Array, " K"]
    num_labels: Float[Array, " K"]
    mean_losses: Float[Array, " K"]
    losses_at_mean: Float[Array, " K"]
    explained: Float[Array, " K"]
    task_weights: Float[Array, " K"]
    inner: Any


def outlier_weighted(
    aggregator: optax.GradientTransformation,
    *,
    num_shared: Integer = 50,
    tolerance: Number = 0.5,
) -> Aggregator:
    r"""Lets go of outlier tasks: those that training with the majority cannot explain.

    For tasks that might be wrong: labels that are noise, of another problem, or turned
    around. What is explained of a task is the share of its loss that depends on
    its samples,

    .. math:: e_k = 1 - \frac{\bar L_k}{\bar C_k}

    with :math:`\bar L_k` the mean of its loss, per label, over all of training so far,
    and :math:`\bar C_k` that of the loss which its head has if every sample has the
    mean representation of its batch: a constant answer. For squared errors and linear
    heads it is the coefficient of determination. It has no unit. With m the median
    over the tasks, the aggregator is handed the task weights

    .. math:: t_k = \operatorname{clip}\Big(
        \frac{e_k / m - 0.7 \tau}{\tau - 0.7 \tau}, 0, 1 \Big)

    which multiply the weights that it finds; a task of weight 0 is absent from its
    solve, since a direction that spares every task would else still give way to it.

    Tasks lose weight only while there is a *clear majority*: of six tasks in ten at
    least 60 % as much is explained as of the median task. Otherwise all weights are 1:
    of two halves that contradict each other, none is picked.

    At first nobody is judged: until six tasks in ten have been in ``num_shared``
    batches, and 30 % of the median task is explained. Till then, tasks count the same
    however often they appear and whatever the unit of their losses: a task's weight is
    inverse to the number of its batches times :math:`\bar C_k`, and 1 in the mean.
    Else a few tasks that appear in every batch would pass for the majority of many that
    are rarer.

    A task with a head of its own that contradicts the others does them no harm, is
    explained as well as they are, and keeps its weight; labels that are noise harm the
    encoder, and are found. Where the tasks share their output too, contradiction is
    found.

    *When not to use it.* It cannot tell a task that is wrong from one of which
    the network can explain less than a third of what it can of the others: look at
    ``explained``. Noise that is memorised counts as explained: it is recognised
    early or not at all. A task much like the majority's, though wrong, stays. Of
    noise in the labels of a task that is right it takes nothing away: a robust loss,
    such as Huber's, does, and gives back less of what wrong tasks cost.

    *Cost.* One more pass through the heads, forwards. It reads no per-task gradients,
    so that around a scalarization a step keeps its single backward pass.

    Args:
      aggregator: any aggregator.
      num_shared: batches of a task before it is judged, at least 0; 50 is the most
        that the paper's grid has for the block in which all tasks share.
      tolerance: tau, in (0, 1), ours: a task of which less than this part of the median
        is explained begins to lose weight, and has none at 70 % of that.

    Returns:
      An aggregator, which needs a problem. A task's own parameters move along their own
      gradient, whatever its weight, as R-MTGB's task-specific block does. Read e with
      ``optax.tree.get(opt_state, "explained")``, t with
      ``optax.tree.get(opt_state, "task_weights")``.

    Raises:
      UserError: for an option out of range, a chain in place of an aggregator, inside
        of ``log_losses``, or (on update) without a problem. Losses below zero, of which
        no share can be told, are refused by a guarded step; see
        :func:`mtopt.offset_losses`.

    Example:
      Three tasks of one line; the third has its sign turned.

      >>> import jax, mtopt, optax
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z + head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b", "c"), lambda w, x, key: x @ w, head_loss)
      >>> params = {"shared": jnp.zeros(2),
      ...           "tasks": mtopt.PerTask(jnp.zeros(3), tasks.names)}
      >>> tx = outlier_weighted(mtopt.equal_weighting(3), num_shared=10)
      >>> tx = mtopt.chain(tx, optax.adam(0.1))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> x = jax.random.normal(jax.random.key(1), (32, 2))
      >>> batch = mtopt.Batch.shared(x, {"a": x[:, 0], "b": x[:, 0], "c": -x[:, 0]})
      >>> step = mtopt.make_train_step(tasks, tx)
      >>> for _ in range(60):
      ...     state, _ = step(state, batch)
      >>> optax.tree.get(state.opt_state, "task_weights").tolist()
      [1.0, 1.0, 0.0]

    References:
      Emami et al., Robust-Multi-Task Gradient Boosting, 2025, arXiv 2507.11411.

    Differences from the paper:
      It boosts trees, and has no such wrapper. Its question is carried over: does the
      ensemble that the majority shares explain a task? There, a logit of every task
      follows the derivative of the loss as boosting goes on, and outliers share an
      ensemble of their own; here what is explained is measured, and outliers have
      nothing to share.
    """
    expect_number("num_shared", num_shared, at_least=0)
    expect_number("tolerance", tolerance, above=0, below=1)

    rule = rule_of(aggregator, "outlier_weighted")

    def init(inner: Any, shared: Any) -> Outliers:
        none = task_numbers(shared, rule.num_tasks, 0).astype(jnp.float32)
        seen = jnp.zeros(rule.num_tasks, jnp.int32)
        return Outliers(seen, none, none, none, none, jnp.ones_like(none), inner)

    def solve(memory: Outliers, evaluation: Evaluation) -> Solution:
        memory = _observed(memory, evaluation)
        judged = memory.seen >= jnp.maximum(num_shared, 1)
        found = trust(memory.explained, judged, tolerance, before=_even(memory))
        applied = jnp.where(evaluation.present, found, 0)
        if evaluation.knows("task_weights"):
            applied = applied * evaluation.task_weights

        regular = evaluation.restricted_to(evaluation.present & (found > 0))
        weights, inner, gradients = rule.solve(
            memory.inner, regular.replace(task_weights=applied)
        )
        applied = applied.astype(memory.task_weights.dtype)
        handed = jnp.where(evaluation.present, applied, memory.task_weights)
        memory = memory._replace(task_weights=handed, inner=inner)
        return Solution(weights, memory, gradients)

    changes = {
        "heads": "plain",
        # The task weights of a step come with its solve: no other step's replace them.
        "gradients": None,
        "least_losses": greatest(0.0, rule.least_losses),
        "takes_logs": False,
    }
    return Aggregator(rule.remembering(init, solve, **changes))


def trust(
    explained: Float[Array, " K"],
    judged: Bool[Array, " K"],
    tolerance: Number,
    before: Float[Array, " K"],
) -> Float[Array, " K"]:
    """The task weights, from what is explained of every task.

    Args:
      explained: e, ``[K]``, at most 1.
      judged: which tasks have been seen often enough; the others are trusted.
      tolerance: tau, as for :func:`outlier_weighted`.
      before: the weights as long as nothing can be told.

    Returns:
      ``[K]`` in [0, 1]; ones where there is no clear majority.

    Example:
      >>> everyone, even = jnp.ones(4, bool), jnp.full(4, 0.5)
      >>> trust(jnp.array([0.9, 0.9, 0.8, 0.1]), everyone, 0.5, even).tolist()
      [1.0, 1.0, 1.0, 0.0]
      >>> trust(jnp.array([0.9, 0.8, 0.1, 0.1]), everyone, 0.5, even).tolist()
      [1.0, 1.0, 1.0, 1.0]
      >>> trust(jnp.array([0.2, 0.2, 0.2, 0.0]), everyone, 0.5, even).tolist()
      [0.5, 0.5, 0.5, 0.5]
    """
    majority = MAJORITY * len(explained)
    median = jnp.nanmedian(jnp.where(judged, explained, jnp.nan))
    told = (judged.sum() >= majority) & (median >= EXPLAINED)
    share = explained / jnp.maximum(median, EXPLAINED)
    clear = (judged & (share >= AGREES)).sum() >= majority
    found = jnp.clip((share / tolerance - FLOOR) / (1 - FLOOR), 0, 1)
    return jnp.where(told, jnp.where(judged & clear, found, 1), before)


def _observed(memory: Outliers, evaluation: Evaluation) -> Outliers:
    """The memory, with the losses of a batch."""
    problem, present = evaluation.problem, evaluation.present
    new = jnp.where(present, problem.labels, 0).astype(jnp.float32)
    num_labels = memory.num_labels + new
    part = divide_or_zero(new, num_labels)

    def mean(old: Array, losses: Array) -> Array:
        # Not a sum: that of a long training stands still in single precision.
        return old + part * (losses.astype(old.dtype) - old)

    losses = mean(memory.mean_losses, evaluation.losses)
    at_mean = problem.losses_at_mean(evaluation.params)
    at_mean = mean(memory.losses_at_mean, at_mean)
    explained = jnp.where(at_mean > 0, 1 - divide_or_zero(losses, at_mean), 0)
    return memory._replace(
        seen=memory.seen + present,
        num_labels=num_labels,
        mean_losses=losses,
        losses_at_mean=at_mean,
        explained=explained,
    )


def _even(memory: Outliers) -> Float[Array, " K"]:
    """Weights with which tasks count the same; 1 in the mean over those seen."""
    size = memory.seen * memory.losses_at_mean
    inverse = divide_or_zero(1.0, size)
    return jnp.where(size > 0, divide_or_zero(inverse, mean_over(size > 0, inverse)), 1)
