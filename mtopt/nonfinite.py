"""The guard of a step: numbers that are not usable are noticed, counted, and kept out.

Those are NaN, infinity, and a loss below the lowest that the method's formulas take.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError
from mtopt.per_task import of_each_task

LOWEST = float(np.finfo(np.float32).min)
ON_NONFINITE = ("raise", "stop", "skip_task", "skip_step")

# A loss of 0 that was left over from terms of size 1 may be as many roundings below it.
ROUNDINGS = 100


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NonFinite:
    """What a guarded step has noticed since the first one.

    Fields are untyped because trees of shapes and stacks of seeds take this form too.

    Attributes:
      skipped: batches on which no step was taken, int32. The position in the data is
        the number of steps plus this.
      batches: in how many batches the loss or the gradient of a task was not finite,
        or the loss below the lowest that the method takes, int32 ``[K]``.
      first: the position in the data of the first batch on which anything was not,
        int32; -1 before.
      first_tasks: the tasks that were not finite on it, bool ``[K]``; none where all
        losses and head gradients were finite, and what the optimizer made of them was
        not.
      first_losses: the losses on it, ``[K]``; 0 for one that was not finite.
      least_losses: the lowest that the method took there, ``[K]``; the lowest float32
        for any, so that what says whether a state is finite may read this too.
    """

    skipped: Any
    batches: Any
    first: Any
    first_tasks: Any
    first_losses: Any
    least_losses: Any

    @classmethod
    def nothing(cls, num_tasks: int) -> "NonFinite":
        """Before the first step."""
        count = jnp.zeros((), jnp.int32)
        per_task = jnp.zeros(num_tasks, jnp.int32)
        losses = jnp.zeros(num_tasks, jnp.float32)
        nobody = per_task.astype(bool)
        return cls(count, per_task, count - 1, nobody, losses, losses + LOWEST)

    def noticed(
        self,
        position: Any,
        tasks: Bool[Array, " K"],
        skipped: Bool[Array, ""],
        losses: Float[Array, " K"],
        least_losses: Any,
    ) -> "NonFinite":
        """With what one more batch showed.

        Args:
          position: of the batch in the data.
          tasks: those whose loss or gradient was not usable.
          skipped: whether no step was taken on it.
          losses: of all tasks, ``[K]``.
          least_losses: the lowest that the method takes, or None.
        """
        is_first = (self.first < 0) & (skipped | tasks.any())
        least = LOWEST if least_losses is None else least_losses

        def of_first(new: Any, old: Any) -> Any:
            return jnp.where(is_first, new, old).astype(old.dtype)

        return NonFinite(
            self.skipped + skipped,
            self.batches + tasks,
            of_first(position, self.first),
            of_first(tasks, self.first_tasks),
            of_first(jnp.where(jnp.isfinite(losses), losses, 0), self.first_losses),
            of_first(least, self.least_losses),
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
    noticed = first_in_words(found, tasks, where)
    if noticed is None:
        return
    what, advice = noticed
    raise UserError(f"{what}: expected {advice}")


def first_in_words(
    found: NonFinite, tasks: Sequence[str], where: str = ""
) -> tuple[str, str] | None:
    """What was noticed first, and what is expected; None where nothing was.

    Args:
      found: ``state.nonfinite``.
      tasks: the K task names.
      where: which model it is of, such as ``seed 3``.
    """
    first = int(found.first)
    if first < 0:
        return None
    of_tasks = found.first_tasks, found.first_losses, found.least_losses
    stands = f"at step {first + 1}{where and f' ({where})'}"
    for name, is_bad, loss, least in zip(tasks, *of_tasks, strict=True):
        if is_bad and loss < least:
            return (
                f"the loss of {name!r} is {float(loss):.4g} {stands}",
                f"{float(least):.4g} or more, the lowest that this method takes; write "
                "offset_losses(method, offset=...) with a number that no loss goes "
                "below, or take a method of any losses",
            )
    bad = [
        name for name, is_bad in zip(tasks, found.first_tasks, strict=True) if is_bad
    ]
    what = (
        "the loss or gradient of " + ", ".join(map(repr, bad[:5])) + " is"
        if bad
        else "losses are finite, and the update is"
    )
    many = f" ({len(bad)} tasks)" if len(bad) > 5 else ""
    return (
        f"{what} not finite{many} {stands}",
        "finite numbers; look for bad values in that batch, lower the learning rate, "
        "or clip the gradient; on_nonfinite='skip_step' goes on",
    )


def tasks_below(losses: Float[Array, " K"], least_losses: Any) -> Bool[Array, " K"]:
    """Which tasks have a loss below the lowest that the method takes.

    By more than rounding: a loss may be the small difference of terms of size 1.

    Args:
      losses: ``[K]``.
      least_losses: a number, ``[K]``, or None where any loss will do.

    Example:
      >>> tasks_below(jnp.array([-1e-6, -1e-3, 1.]), 0.).tolist()
      [False, True, False]
    """
    if least_losses is None:
        return jnp.zeros(losses.shape, bool)
    least = jnp.asarray(least_losses, losses.dtype)
    rounding = ROUNDINGS * jnp.finfo(losses.dtype).eps
    return losses < least - rounding * jnp.maximum(jnp.abs(least), 1)


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


def heads_not_finite(heads: Any) -> Bool[Array, " K"]:
    """Which tasks have a gradient of their own parameters that is not finite.

    Args:
      heads: a :class:`mtopt.PerTask`, or groups of them.
    """
    return of_each_task(
        lambda group: tasks_not_finite(jnp.zeros(len(group.names)), group), heads
    )


def lost_finiteness(old: Any, new: Any) -> Bool[Array, ""]:
    """Whether a number that was finite is no longer.

    Args:
      old: a tree before the step.
      new: the same tree after it.
    """
    leaves = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    lost = [
        (jnp.isfinite(before) & ~jnp.isfinite(after)).any()
        for before, after in leaves
        if jnp.issubdtype(jnp.result_type(after), jnp.inexact)
    ]
    if not lost:
        return jnp.zeros((), bool)
    # Counted by a product: what joins the arrays one by one, XLA puts into the program
    # of each array that waits for the answer, in hundreds of lines for hundreds of
    # arrays, and takes minutes to compile.
    each = jnp.stack(lost).astype(jnp.float32)
    return jnp.dot(each, each) > 0


def each_model(found: NonFinite) -> list[NonFinite]:
    """The parts of a stack of models, ``[S, ...]`` or ``[S, K, ...]``, one by one."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, found))
    models = np.shape(found.skipped)
    flat = [leaf.reshape(-1, *leaf.shape[len(models) :]) for leaf in leaves]
    return [jax.tree.unflatten(structure, entry) for entry in zip(*flat, strict=True)]
