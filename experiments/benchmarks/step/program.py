"""What a side hands the process that measures: a step to call, and what is known."""

from collections.abc import Callable
from typing import NamedTuple


class Known(NamedTuple):
    """What the compiler says of a step; None for a library without one.

    Attributes:
      compile: seconds from the Python function to the executable.
      flops: FLOPs of a call, with the body of a loop counted once.
      temporary: bytes of temporary buffers.
    """

    compile: float | None = None
    flops: float | None = None
    temporary: int | None = None


class Program(NamedTuple):
    """One training step of one library.

    Attributes:
      run: makes so many steps, and waits for them.
      known: what the compiler says.
      device: where they run.
      accelerator_peak: the most bytes of an accelerator's memory so far; None on a CPU.
    """

    run: Callable[[int], None]
    known: Known
    device: str
    accelerator_peak: Callable[[], int | None]
