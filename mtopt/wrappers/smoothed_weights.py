"""CR-MOGM: the running mean of an aggregator's weights."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, replaceable, rule_of
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import task_numbers
from mtopt.options import Number
from mtopt.rule import Solution
from mtopt.wrappers.shares import among, spread


class Smoothed(NamedTuple):
    """The memory of :func:`smoothed_weights`.

    Attributes:
      average: the running mean of every task's weight, ``[K]``.
      seen: whether there is one yet, ``[K]``.
      inner: the memory of the wrapped rule.
    """

    average: Float[Array, " K"]
    seen: Bool[Array, " K"]
    inner: Any


def smoothed_weights(
    aggregator: optax.GradientTransformation, *, alpha: Number = 0.9
) -> Aggregator:
    r"""Applies the running mean of an aggregator's weights (CR-MOGM).

    .. math:: \lambda^t = \alpha \lambda^{t-1} + (1 - \alpha) \hat\lambda^t,
              \qquad d = \sum_k \lambda^t_k g_k

    with :math:`\hat\lambda` the weights that the aggregator finds. Solved from a batch,
    they depend on the same noise as the gradients that they multiply, which biases the
    direction; the running mean hardly does.

    Args:
      aggregator: any aggregator. One that sums rows of its own making has those summed
        with the smoothed weights.
      alpha: in [0, 1), the share of the past; 0 is the aggregator itself.

    Returns:
      An aggregator. The mean starts at the first weights, and a batch without a task
      leaves its share as it is. Where the weights of a method have a common scale, such
      as the sum of 1 of a convex combination, it is kept whichever tasks are present;
      a task that the first batch lacks then starts at an equal share.

    Raises:
      UserError: for an alpha out of range, a chain in place of an aggregator, or one
        with weights for more than one sum.

    Example:
      >>> import mtopt
      >>> tx = smoothed_weights(mtopt.mgda(2), alpha=0.5)
      >>> state = tx.init(jnp.zeros(2))
      >>> for rows in ([[1., 0.], [0., 1.]], [[1., 0.], [1., 1.]]):
      ...     direction, state = tx.update(jnp.array(rows), state)
      >>> [round(float(w), 3) for w in state.weights]
      [0.75, 0.25]
      >>> print(direction.round(3))
      [1.   0.25]

    References:
      Zhou et al., On the Convergence of Stochastic Multi-Objective Gradient
      Manipulation and Beyond, 2022, NeurIPS.
    """
    expect_number("alpha", alpha, at_least=0, below=1)
    rule = rule_of(aggregator, "smoothed_weights")
    rule = replaceable(rule, "smoothed_weights", across_steps=False)

    def init(inner: Any, shared: Any) -> Smoothed:
        average = task_numbers(shared, rule.num_tasks, 0)
        return Smoothed(average, jnp.zeros(rule.num_tasks, bool), inner)

    def solve(memory: Smoothed, evaluation: Evaluation) -> Solution:
        found, inner, gradients = rule.solve(memory.inner, evaluation)
        present = evaluation.present
        new = spread(memory.average, found, present, rule.reduction)
        mean = alpha * memory.average + (1 - alpha) * new
        average = jnp.where(memory.seen, mean, new).astype(memory.average.dtype)
        # With a common scale the first batch gives those that it lacks a share too.
        now = present if rule.reduction == "none" else present.any()
        memory = Smoothed(average, memory.seen | now, inner)
        return Solution(among(average, present, rule.reduction), memory, gradients)

    return Aggregator(rule.remembering(init, solve))
