"""The guard of a step: what is not finite is noticed, counted, and kept out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from mtopt.errors import UserError

ON_NONFINITE = ("raise", "skip_task", "skip_step")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NonFinite:
    """What a guarded step has noticed since the first one.

    Fields are untyped because trees of shapes and stacks of seeds take this form too.

    Attributes:
      skipped: batches on which no step was taken, int32. The position in the data is
        the number of steps plus this.
      batches: in how many batches the loss or the gradient of a task was not finite,
        int32 ``[K]``.
      first: the position in the data of the first batch on which anything was not,
        int32; -1 before.
      first_tasks: the tasks that were not finite on it, bool ``[K]``; none where all
        losses and head gradients were finite, and what the optimizer made of them was
        not.
    """

    skipped: Any
    batches: Any
    first: Any
    first_tasks: Any

    @classmethod
    def nothing(cls, num_tasks: int) -> "NonFinite":
        """Before the first step."""
        count = jnp.zeros((), jnp.int32)
        per_task = jnp.zeros(num_tasks, jnp.int32)
        return cls(count, per_task, count - 1, per_task.astype(bool))

    def noticed(
        self, position: Any, tasks: Bool[Array, " K"], skipped: Bool[Array, ""]
    ) -> "NonFinite":
        """With what one more batch showed.

        Args:
          position: of the batch in the data.
          tasks: those whose loss or gradient was not finite.
          skipped: whether no step was taken on it.
        """
        is_first = (self.first < 0) & (skipped | tasks.any())
        return NonFinite(
            self.skipped + skipped,
            self.batches + tasks,
            jnp.where(is_first, position, self.first),
            jnp.where(is_first, tasks, self.first_tasks),
        )


def check_finite(found: NonFinite, tasks: Sequence[str], where: str = "") -> None:
    """Raises where a guarded step has noticed anything, in words.

    Args:
      found: ``state.nonfinite``.
      tasks: the K task names.
      where: which model it is of, such as ``seed 3``.

    Raises:
      UserError: naming the tasks and the batch.
    """
    first = int(found.first)
    if first < 0:
        return
    bad = [
        name for name, is_bad in zip(tasks, found.first_tasks, strict=True) if is_bad
    ]
    what = (
        "the loss or gradient of " + ", ".join(map(repr, bad[:5])) + " is"
        if bad
        else "losses are finite, and the update is"
    )
    many = f" ({len(bad)} tasks)" if len(bad) > 5 else ""
    raise UserError(
        f"{what} not finite{many} at step {first + 1}{where and f' ({where})'}: "
        "expected finite numbers; look for bad values in that batch, lower the "
        "learning rate, or clip the gradient; on_nonfinite='skip_step' goes on"
    )


def tasks_not_finite(losses: Any, gradients: Any) -> Bool[Array, " K"]:
    """Which tasks have a loss or gradient that is not finite.

    Args:
      losses: ``[K]``.
      gradients: a tree, leaves ``[K, ...]``.
    """
    finite = jnp.isfinite(losses)
    for leaf in jax.tree.leaves(gradients):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            finite &= jnp.isfinite(leaf).reshape(len(losses), -1).all(axis=1)
    return ~finite


def lost_finiteness(old: Any, new: Any) -> Bool[Array, ""]:
    """Whether a number that was finite is no longer.

    Args:
      old: a tree before the step.
      new: the same tree after it.
    """
    lost = jnp.zeros((), bool)
    for before, after in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
        if jnp.issubdtype(jnp.result_type(after), jnp.inexact):
            lost |= (jnp.isfinite(before) & ~jnp.isfinite(after)).any()
    return lost


def each_model(found: NonFinite) -> list[NonFinite]:
    """The parts of a stack of models, ``[S, ...]`` or ``[S, K, ...]``, one by one."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, found))
    models = np.shape(found.skipped)
    flat = [leaf.reshape(-1, *leaf.shape[len(models) :]) for leaf in leaves]
    return [jax.tree.unflatten(structure, entry) for entry in zip(*flat, strict=True)]
