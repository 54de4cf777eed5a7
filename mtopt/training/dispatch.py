"""How many steps one call of a compiled program takes.

A call costs some hundred microseconds, as much as a step of a small model. Where a
program can make its batches (:class:`mtopt.data.batches.Batches`), one call takes many
steps in a loop.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.batch import Batch
from mtopt.data.batches import Batches
from mtopt.gradients.program import primitives
from mtopt.step import TrainState
from mtopt.training.program_memory import ProgramMemory

MOST_STEPS = 100
"""In one call: with a hundred, what a call costs is lost in what they take."""

MOST_SECONDS = 0.25
"""That a call should take: no signal is heard before it ends."""

SLOW_IN_LOOPS = {"cpu": {"conv_general_dilated"}}
"""Platform to primitives for which it has no fast program inside of a loop.

On a CPU, XLA has its fast convolutions outside of loops only: inside they take 6 to 45
times as long (jax issue 12868).
"""

Step = Callable[[TrainState, Batch], tuple[TrainState, Any]]
Look = Callable[[TrainState, Batch], None]


class Dispatch:
    """Takes the steps of a run, as many in one call as is fast.

    One, where the batches come one by one, and where the step holds a primitive of
    :data:`SLOW_IN_LOOPS`. Otherwise one program takes any number of steps: which of
    them went together leaves no trace in the bits.

    Args:
      step: that of a :class:`mtopt.training.program.Program`.
      coming: the batches.
      most: steps of a call, 1 or more.
      in_any_case: True to take as many whatever the step holds.

    Attributes:
      step_bytes: the memory of the compiled program that takes the steps, without the
        samples that it makes batches of; None before the first step, and where the
        compiler does not say.
    """

    step_bytes: int | None

    def __init__(
        self,
        step: Step,
        coming: Iterator[Batch],
        most: int,
        *,
        in_any_case: bool = False,
    ) -> None:
        self._step = step
        self._coming = coming
        self._inside = coming if isinstance(coming, Batches) and most > 1 else None
        self._most = most
        self._in_any_case = in_any_case
        self._calls = 0
        self._now = 1
        self.step_bytes = None

    def advance(
        self, state: TrainState, wanted: int, look: Look | None = None
    ) -> tuple[TrainState, Any, int]:
        """Takes some of the next steps; the first call, which compiles, one.

        Args:
          state: before them; donated.
          wanted: the most that may be taken.
          look: is shown the state and the batch of the first of them before it.

        Returns:
          The state, what the last step returned beside it, and the number of steps.
        """
        if self._inside is None:
            batch = next(self._coming)
            if look is not None:
                look(state, batch)
            return self._one(state, batch)
        make, common = self._inside.make, self._inside.common
        count = min(wanted, self._now)
        parts = [next(self._inside.parts) for _ in range(count)]
        if look is not None:
            look(state, make(common, parts[0]))
        loop = _looped(self._step, make)
        # Of one size, whatever the run's intervals are: one program for all of them.
        stacked = _stacked(parts, max(self._most, MOST_STEPS))
        arguments = state, common, stacked, np.int32(count)
        if self._calls == 0:
            traced = loop.trace(*arguments)
            platform = next(iter(state.step.devices())).platform
            slow = primitives(traced.jaxpr) & SLOW_IN_LOOPS.get(platform, set())
            if slow and not self._in_any_case:
                self._inside = None
                return self._one(state, make(common, parts[0]))
            self.step_bytes = _peak(traced.lower(), common)
        begin = time.perf_counter()
        state, last = loop(*arguments)
        if self._calls:  # the first one compiles
            jax.block_until_ready(last)
            step_seconds = (time.perf_counter() - begin) / count
            self._now = max(1, min(self._most, int(MOST_SECONDS / step_seconds)))
        self._calls += 1
        return state, last, count

    def _one(self, state: TrainState, batch: Batch) -> tuple[TrainState, Any, int]:
        """Takes one step."""
        if self.step_bytes is None and isinstance(self._step, jax.stages.Wrapped):
            self.step_bytes = _peak(self._step.lower(state, batch))
        state, last = self._step(state, batch)
        return state, last, 1


def _peak(lowered: jax.stages.Lowered, beside: Any = ()) -> int | None:
    """The memory of a program without some of its arguments.

    It is compiled here, and its first call finds it: JAX keeps what it has lowered.
    """
    found = ProgramMemory.of(lowered.compile())
    if found is None:
        return None
    return found.peak - sum(leaf.nbytes for leaf in jax.tree.leaves(beside))


@functools.lru_cache(maxsize=8)
def _looped(step: Step, make: Callable[[Any, Any], Batch]) -> Any:
    """The steps of some batches as one program, for all runs of a program's step."""

    def loop(
        state: TrainState, common: Any, parts: Any, count: jax.Array
    ) -> tuple[TrainState, Any]:
        def once(state: TrainState, t: Any) -> tuple[TrainState, Any]:
            part = jax.tree.map(lambda leaf: leaf[t], parts)
            return step(state, make(common, part))

        _, last = jax.eval_shape(once, state, 0)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), last)
        # The number of steps is no constant: another one is the same program.
        return jax.lax.fori_loop(
            0, count, lambda t, carry: once(carry[0], t), (state, nothing)
        )

    return jax.jit(loop, donate_argnums=0)


def _stacked(parts: Sequence[Any], size: int) -> Any:
    """The parts one behind the other, and zeros up to a size."""

    def stack(*leaves: Any) -> np.ndarray:
        first = np.asarray(leaves[0])
        stacked = np.zeros((size, *first.shape), first.dtype)
        stacked[: len(leaves)] = leaves
        return stacked

    return jax.tree.map(stack, *parts)
