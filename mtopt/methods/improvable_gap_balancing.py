"""Improvable gap balancing: weigh log losses by what is left to improve."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.memory import epoch_mean
from mtopt.options import Integer
from mtopt.registry import method

EPSILON = 1e-20


@method(
    family="losses",
    example=lambda num_tasks: {"steps_per_epoch": 1},
)
def improvable_gap_balancing(
    num_tasks: int,
    *,
    steps_per_epoch: Integer,
    base_epoch: Integer = 1,
    heads: str = "weighted",
) -> Aggregator:
    r"""Weighs log losses by the current loss over a base loss (IGBv1).

    .. math::
       v_k = |P| \, \frac{e^{L_k / B_k}}{\sum_{j \in P} e^{L_j / B_j}},
       \qquad L = \sum_{k \in P} \mathrm{sg}(v_k) \log L_k,
       \qquad w_k = \frac{v_k}{L_k}

    over the tasks P present in the batch, with sg a stopped gradient and the base B the
    mean losses of one early epoch. Up to the end of that epoch all v are 1. The gap
    to improve is the distance of a loss from its ideal, which is taken to be 0.

    Args:
      num_tasks: K, at least 1.
      steps_per_epoch: steps in an epoch, at least 1.
      base_epoch: the epoch whose mean losses are the base, counted from 0; at least 0.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative: a negative loss
      is weighed like one of 0. A task that is absent from the base epoch takes its
      first loss after it as its base.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a number out of its range, or an unknown head rule.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = improvable_gap_balancing(2, steps_per_epoch=1, base_epoch=0)
      >>> rows, state = jnp.ones((2, 3)), tx.init(jnp.zeros(3))
      >>> for losses in ([1., 2.], [1., 1.]):
      ...     known = mtopt.Evaluation(losses=jnp.array(losses))
      ...     _, state = tx.update(rows, state, evaluation=known)
      ...     print([round(float(w), 3) for w in state.weights])
      [1.0, 0.5]
      [1.245, 0.755]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: left
      out; all zero: d = 0.

    References:
      Dai et al., Improvable Gap Balancing for Multi-Task Learning, 2023, arXiv
      2307.15429.

    Differences from released code:
      This is version 1. Version 2 learns v with a reinforcement-learning agent and is
      not here. Theirs divides by the loss itself, here 1e-20 is added.
    """
    expect_number("steps_per_epoch", steps_per_epoch, at_least=1)
    expect_number("base_epoch", base_epoch, at_least=0)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        losses = jnp.maximum(losses, 0)
        memory, after = epoch_mean.observe(
            memory, losses, present, epoch=base_epoch, steps_per_epoch=steps_per_epoch
        )
        gaps = losses / jnp.maximum(memory.mean, EPSILON)
        balance = present.sum() * jax.nn.softmax(gaps, where=present)
        return jnp.where(after, balance, 1) / (losses + EPSILON), memory

    memory = functools.partial(epoch_mean.start, num_tasks)
    return weighting(num_tasks, weigh, heads=heads, memory=memory, least_losses=0.0)
