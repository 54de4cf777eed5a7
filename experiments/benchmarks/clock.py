"""Times of calls that take turns, so that what else a machine does hits all of them."""

import time
from collections.abc import Callable, Sequence

import jax


def seconds() -> float:
    """Seconds of the processor on a CPU, where others may work, or of the wall."""
    on_cpu = jax.default_backend() == "cpu"
    return time.process_time() if on_cpu else time.perf_counter()


def fastest(
    calls: Sequence[Callable[[], object]],
    rounds: int,
    round_seconds: float,
    clock: Callable[[], float] = seconds,
) -> list[float]:
    """The least seconds of each call, after a first one.

    Args:
      calls: what is timed, in turns.
      rounds: turns of each.
      round_seconds: about how long a turn takes, one call at least.
      clock: what tells the time.
    """
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for i, call in enumerate(calls):
            begin, count, spent = clock(), 0, 0.0
            while spent < round_seconds:
                call()
                count += 1
                spent = clock() - begin
            best[i] = min(best[i], spent / count)
    return best
