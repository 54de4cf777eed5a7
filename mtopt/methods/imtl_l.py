"""IMTL-L: learn a scale for every loss that brings them all to 1."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.memory.learned import learn, start
from mtopt.options import Number
from mtopt.registry import method

SMALLEST = 1e-8


@method(family="losses")
def imtl_l(
    num_tasks: int, *, learning_rate: Number = 0.025, heads: str = "weighted"
) -> Aggregator:
    r"""Learns the scale of every loss (the loss balance of IMTL).

    .. math::
       L = \sum_k e^{s_k} L_k - s_k,
       \qquad w_k = e^{s_k},
       \qquad s_k \leftarrow \mathrm{Adam}(\partial L / \partial s_k)

    from :math:`s = 0`. At its optimum :math:`e^{s_k} = 1 / L_k`, every scaled loss is 1
    and L is the sum of log losses, so that this follows
    :func:`mtopt.methods.scale_invariant.scale_invariant` with a delay. A step uses
    the s from before its own update.

    Args:
      num_tasks: K, at least 1.
      learning_rate: of Adam on s, above 0. The paper leaves s to the optimizer of the
        model; 0.025 is what nash-mtl gives to learned weights.
      heads: ``"weighted"`` differentiates the scalarised loss (the paper);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses; a loss below 1e-8 trains s as 1e-8 does, so
      that s stays below 19 for losses of 0 and below. A task that is absent from a
      batch leaves its s as it is.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a learning rate that is not above 0, or an unknown head rule.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = imtl_l(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 0.1])))
      >>> [round(float(s), 3) for s in state.memory.values]
      [-0.025, 0.025]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: left
      out; all zero: d = 0.

    References:
      Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, OpenReview
      IMPnRXEWpvr (not on arXiv).

    Differences from released code:
      LibMTL has it only together with the gradient balance IMTL-G. s has an optimizer
      of its own here.
    """
    expect_number("learning_rate", learning_rate, above=0)
    adam = optax.adam(learning_rate)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        slope = jax.grad(objective, 1)(jnp.maximum(losses, SMALLEST), memory.values)
        weights = jax.grad(objective)(losses, memory.values)
        return weights, learn(adam, memory, slope, present)

    memory = functools.partial(start, adam, num_tasks, 0)
    return weighting(num_tasks, weigh, heads=heads, memory=memory, least_losses=0.0)


def objective(losses: Float[Array, " K"], s: Float[Array, " K"]) -> Float[Array, ""]:
    """The scaled losses, and the price of scaling them down.

    Args:
      losses: ``[K]``.
      s: the logarithms of the scales, ``[K]``.
    """
    return jnp.sum(jnp.exp(s) * losses - s)
