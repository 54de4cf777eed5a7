"""Numbers that a method learns by Adam, one for every task."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.linalg import task_numbers, where_present
from mtopt.options import Number


class Learned(NamedTuple):
    """One learned number per task.

    Attributes:
      values: the numbers, ``[K]``.
      optimizer: the state of a scalar optimizer for each of them: leaves ``[K, ...]``.
    """

    values: Float[Array, " K"]
    optimizer: Any


def bounded_adam(learning_rate: Number) -> optax.GradientTransformation:
    """Adam on slopes clipped to 1e15, whose squares stay finite in float32.

    Args:
      learning_rate: above 0.
    """
    return optax.chain(optax.clip(1e15), optax.adam(learning_rate))


def start(
    optimizer: optax.GradientTransformation,
    num_tasks: int,
    value: Number,
    shared: Any,
) -> Learned:
    """Every task's number at ``value``, in the precision of the shared parameters.

    Args:
      optimizer: one that treats every number on its own, such as ``optax.adam``.
      num_tasks: K.
      value: where all of them start.
      shared: the shared parameters; the numbers have at least float32.
    """
    values = task_numbers(shared, num_tasks, value)
    return Learned(values, jax.vmap(optimizer.init)(values))


def learn(
    optimizer: optax.GradientTransformation,
    learned: Learned,
    gradient: Float[Array, " K"],
    present: Bool[Array, " K"],
) -> Learned:
    """One step of the optimizer for every present task; the others stay untouched.

    Each number has its own moments and step count, so that a task which was away is
    bias-corrected by the steps that it took itself.

    Args:
      optimizer: the one that :func:`start` got.
      learned: the numbers so far.
      gradient: what the numbers descend, ``[K]``.
      present: which tasks take part, ``[K]``.
    """
    gradient = gradient.astype(learned.values.dtype)
    step, state = jax.vmap(optimizer.update)(
        gradient, learned.optimizer, learned.values
    )
    new = Learned(jax.tree.map(jnp.add, learned.values, step), state)
    return where_present(present, new, learned)
