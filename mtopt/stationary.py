"""Tasks whose gradient is zero to rounding, and whether one of them decides."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import WeightingState
from mtopt.per_task import PerTask, of_each_task

# A gradient below so many roundings of the longest that its task had is noise.
ROUNDINGS = 100

NEARLY_ALL = 0.999
"""The share of the weights from which on a task alone decides."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stationary:
    """In which steps a task without a gradient decided for all.

    A solved task is the shortest gradient and the smallest loss, so that some methods
    give it all the weight, and the others stop; :func:`mtopt.without_stationary` leaves
    it out.

    Fields are untyped because trees of shapes and stacks of seeds take this form too.

    Attributes:
      longest: the largest entry that the gradient of its own parameters had, of every
        task, ``[K]``.
      steps: in how many steps that gradient of a task was zero to rounding, and the
        weights gave it nearly all, while other tasks had one, int32 ``[K]``.
      first: the first of these steps, counted from 0, int32 ``[K]``; -1 before.
    """

    longest: Any
    steps: Any
    first: Any

    @classmethod
    def nothing(cls, num_tasks: int) -> "Stationary":
        """Before the first step."""
        steps = jnp.zeros(num_tasks, jnp.int32)
        return cls(jnp.zeros(num_tasks, jnp.float32), steps, steps - 1)

    def after(
        self, step: Any, heads: Any, present: Bool[Array, " K"], opt_state: Any
    ) -> tuple["Stationary", Bool[Array, " K"]]:
        """With one more step, and which task decided in it without a gradient.

        What is looked at is the gradient of a task's own parameters, which every step
        has: where it is zero, so is that of the shared ones, but for a head that is at
        its optimum while the features are not. The latter would be K backward passes.

        Args:
          step: its number, from 0.
          heads: the gradients of the tasks' own parameters, or what tells in their
            place (:meth:`mtopt.Problem.telling_gradients`).
          present: which tasks take part, ``[K]``.
          opt_state: of the chain after the step, with the weights of its aggregators.
        """
        lengths = of_each_task(_lengths, heads).astype(jnp.float32)
        longest, moves = moving(self.longest, lengths, present)
        decides = jnp.zeros(lengths.shape, bool)
        for state in jax.tree.leaves(opt_state, is_leaf=_is_weighting):
            if _is_weighting(state):
                size = jnp.abs(state.weights)
                decides |= size >= NEARLY_ALL * jnp.maximum(size.sum(), _TINY)
        decides &= present & ~moves & moves.any()
        first = jnp.where(decides & (self.first < 0), step, self.first)
        return Stationary(longest, self.steps + decides, first), decides


def moving(
    longest: Float[Array, " K"],
    lengths: Float[Array, " K"],
    present: Bool[Array, " K"],
) -> tuple[Float[Array, " K"], Bool[Array, " K"]]:
    """The new longest lengths, and which tasks have a gradient that is not noise.

    Args:
      longest: the longest that every task had so far.
      lengths: of the gradients of this step.
      present: which tasks take part.

    Example:
      >>> longest, lengths = jnp.array([1., 1e-6]), jnp.array([1e-6, 1e-6])
      >>> moving(longest, lengths, jnp.ones(2, bool))[1].tolist()
      [False, True]
    """
    seen = jnp.where(present & jnp.isfinite(lengths), lengths, 0)
    longest = jnp.maximum(longest, seen.astype(longest.dtype))
    tolerance = ROUNDINGS * jnp.finfo(longest.dtype).eps
    return longest, present & (lengths > tolerance * longest)


_TINY = jnp.finfo(jnp.float32).tiny


def _is_weighting(node: Any) -> bool:
    return isinstance(node, WeightingState)


def _lengths(group: PerTask) -> Float[Array, " Kg"]:
    """The largest entries of the gradients of a group, at half the cost of a length.

    Tasks without parameters of their own never rest.
    """
    count = len(group.names)
    leaves = [leaf for leaf in jax.tree.leaves(group) if leaf.size]
    if not leaves:
        return jnp.ones(count)
    largest = [jnp.abs(leaf).reshape(count, -1).max(axis=1) for leaf in leaves]
    return functools.reduce(jnp.maximum, largest)
