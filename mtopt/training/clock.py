"""How fast training is, without what is done beside it."""

import contextlib
import time
from collections.abc import Iterator

import jax

from mtopt.step import TrainState


class Clock:
    """Steps per second of training alone: evaluation and checkpoints do not count."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._since = time.perf_counter()

    def rate(self, step: int) -> float | None:
        """Steps per second since the last call; None where there was no step."""
        now = time.perf_counter()
        steps, seconds = step - self._step, now - self._since
        self._step, self._since = step, now
        return float(f"{steps / seconds:.4g}") if steps else None

    @contextlib.contextmanager
    def paused(self, state: TrainState) -> Iterator[None]:
        """Leaves out what is done inside, once the steps before it are done."""
        jax.block_until_ready(state)
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin
