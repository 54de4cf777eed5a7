"""The mean losses of one epoch, which some methods take as their yardstick."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.linalg import task_numbers, where_present
from mtopt.options import Integer


class EpochMean(NamedTuple):
    """Mean losses of one epoch, as far as they are known.

    Attributes:
      step: the number of steps so far, int32.
      mean: of the losses of every task, ``[K]``.
      count: how many losses each mean is of, ``[K]``, int32.
    """

    step: Int[Array, ""]
    mean: Float[Array, " K"]
    count: Int[Array, " K"]


def start(num_tasks: int, shared: Any) -> EpochMean:
    """Before the first step.

    Args:
      num_tasks: K.
      shared: the shared parameters; the means have at least float32.
    """
    return EpochMean(
        jnp.zeros((), jnp.int32),
        task_numbers(shared, num_tasks, 0),
        jnp.zeros((num_tasks,), jnp.int32),
    )


def observe(
    memory: EpochMean,
    losses: Float[Array, " K"],
    present: Bool[Array, " K"],
    *,
    epoch: Integer,
    steps_per_epoch: Integer,
) -> tuple[EpochMean, Bool[Array, ""]]:
    """Counts one step, and averages its losses if it is of that epoch.

    A task that the whole epoch did not see takes the first loss it shows afterwards.

    Args:
      memory: the means so far.
      losses: of this step, ``[K]``.
      present: which tasks take part, ``[K]``.
      epoch: the one to average, counted from 0.
      steps_per_epoch: steps in an epoch, at least 1.

    Returns:
      The new memory, and whether this step comes after the epoch: then every task
      that is present has a mean.
    """
    first = epoch * steps_per_epoch
    after = memory.step >= first + steps_per_epoch
    during = (memory.step >= first) & ~after
    count = memory.count + 1
    losses = losses.astype(memory.mean.dtype)
    mean = memory.mean + (losses - memory.mean) / count.astype(losses.dtype)
    counted = present & (during | (after & (memory.count == 0)))
    mean, count = where_present(counted, (mean, count), (memory.mean, memory.count))
    return EpochMean(memory.step + 1, mean, count), after
