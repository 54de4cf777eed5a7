"""Dynamic weight average: weigh a task by how slowly its loss falls."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number, expect_plain
from mtopt.evaluation import Evaluation
from mtopt.linalg import weight_dtype, where_present
from mtopt.options import Integer, Number
from mtopt.registry import method

SMALLEST = 1e-20


class EpochAverages(NamedTuple):
    """Mean losses of the running epoch and of the last two, each ``[K]``.

    Attributes:
      step: steps done in the running epoch, int32.
      running: the mean of the losses it has shown so far.
      count: how many those are, int32.
      last: the mean of the last epoch that saw the task.
      previous: the mean of the one before.
      epochs: the number of epochs that saw the task, int32.
    """

    step: Int[Array, ""]
    running: Float[Array, " K"]
    count: Int[Array, " K"]
    last: Float[Array, " K"]
    previous: Float[Array, " K"]
    epochs: Int[Array, " K"]


class Window(NamedTuple):
    """The latest losses of every task.

    Attributes:
      losses: newest last, ``[K, 2 * window]``.
      count: how many losses each task has shown, ``[K]``, int32.
    """

    losses: Float[Array, "K W"]
    count: Int[Array, " K"]


@method(
    family="losses",
    fixed={"window": "the shape of its memory"},
)
def dynamic_weight_average(
    num_tasks: int,
    *,
    window: int = 25,
    steps_per_epoch: Integer | None = None,
    temperature: Number = 2.0,
    heads: str = "weighted",
) -> Aggregator:
    r"""Weighs tasks by the ratio of their last two average losses (DWA).

    .. math::
       r_k = \frac{\bar L_k(t-1)}{\bar L_k(t-2)},
       \qquad w_k = |P| \, \frac{e^{r_k / T}}{\sum_{j \in P} e^{r_j / T}}

    over the tasks P present in the batch: a task whose loss falls slowly gains weight.
    The averages are of the latest steps and as many before them, as in nash-mtl's code,
    or those of the last two epochs, as in the paper (give ``steps_per_epoch``). Until a
    task has two averages, its ratio is 1.

    Args:
      num_tasks: K, at least 1.
      window: steps in each of the two averages, the current step included, at least
        1; 25 in nash-mtl.
      steps_per_epoch: steps in an epoch, at least 1, for averages over epochs in place
        of the window.
      temperature: T, above 0; the larger, the more even the weights.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative. An average is
      over the losses that a task did show: steps and epochs without it do not count.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a number out of its range.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = dynamic_weight_average(2, steps_per_epoch=1)
      >>> rows, state = jnp.ones((2, 3)), tx.init(jnp.zeros(3))
      >>> for losses in ([4., 4.], [4., 1.], [4., 1.]):
      ...     known = mtopt.Evaluation(losses=jnp.array(losses))
      ...     _, state = tx.update(rows, state, evaluation=known)
      >>> [round(float(w), 3) for w in state.weights]
      [1.185, 0.815]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: left
      out; all zero: d = 0.

    References:
      Liu et al., End-to-End Multi-Task Learning with Attention, 2019, arXiv
      1803.10704.

    Differences from released code:
      nash-mtl fills its window with ones at the start, so that its weights compare
      losses with 1 for a while; here they wait for losses of the task itself.
    """
    expect_number("temperature", temperature, above=0)
    expect_plain("window", window)
    expect_number("window", window, at_least=1)
    start, ratios = functools.partial(_no_losses, window), _of_window
    if steps_per_epoch is not None:
        expect_number("steps_per_epoch", steps_per_epoch, at_least=1)
        start, ratios = _no_epochs, functools.partial(_of_epochs, steps_per_epoch)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        ratio, memory = ratios(memory, losses, present)
        shares = jax.nn.softmax(ratio / temperature, where=present)
        return present.sum() * shares, memory

    def memory(shared: Any) -> EpochAverages | Window:
        return start(num_tasks, weight_dtype(shared))

    return weighting(
        num_tasks, weigh, heads=heads, reduction="sum", memory=memory, least_losses=0.0
    )


def _no_epochs(num_tasks: int, dtype: Any) -> EpochAverages:
    """The memory before the first epoch."""
    zeros, none = jnp.zeros((num_tasks,), dtype), jnp.zeros((num_tasks,), jnp.int32)
    return EpochAverages(jnp.zeros((), jnp.int32), zeros, none, zeros, zeros, none)


def _of_epochs(
    steps_per_epoch: Integer,
    memory: EpochAverages,
    losses: Float[Array, " K"],
    present: Bool[Array, " K"],
) -> tuple[Float[Array, " K"], EpochAverages]:
    """The ratios of the last two epochs, and one more step of the running one."""
    ratio = memory.last / jnp.maximum(memory.previous, SMALLEST)
    ratio = jnp.where(memory.epochs >= 2, ratio, 1)
    losses = losses.astype(memory.running.dtype)
    count = memory.count + present
    move = (losses - memory.running) / jnp.maximum(count, 1).astype(losses.dtype)
    running = memory.running + jnp.where(present, move, 0)
    ends = memory.step + 1 == steps_per_epoch
    last, previous, epochs = where_present(
        ends & (count > 0),
        (running, memory.last, memory.epochs + 1),
        (memory.last, memory.previous, memory.epochs),
    )
    return ratio, EpochAverages(
        jnp.where(ends, 0, memory.step + 1),
        jnp.where(ends, 0, running),
        jnp.where(ends, 0, count),
        last,
        previous,
        epochs,
    )


def _no_losses(window: int, num_tasks: int, dtype: Any) -> Window:
    """The memory before the first loss."""
    losses = jnp.zeros((num_tasks, 2 * window), dtype)
    return Window(losses, jnp.zeros((num_tasks,), jnp.int32))


def _of_window(
    memory: Window, losses: Float[Array, " K"], present: Bool[Array, " K"]
) -> tuple[Float[Array, " K"], Window]:
    """The ratios of the two halves of the windows that these losses join."""
    newest = losses.astype(memory.losses.dtype)[:, None]
    moved = jnp.concatenate([memory.losses[:, 1:], newest], axis=1)
    memory = where_present(present, Window(moved, memory.count + 1), memory)
    previous, last = jnp.split(memory.losses, 2, axis=1)
    ratio = last.mean(1) / jnp.maximum(previous.mean(1), SMALLEST)
    return jnp.where(memory.count >= moved.shape[1], ratio, 1), memory
