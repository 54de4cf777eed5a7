"""A process that has one step of one library: it pins itself, builds, and takes turns.

Started by :mod:`.turns` with a request in JSON. It answers a line of JSON when the step
is built and has run, then one for every number of steps that it reads.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import sys
import time
from typing import Any, TextIO

from .cells import Cell
from .program import Program

LINUX = pathlib.Path("/proc/self")


def build(cell: Cell, column: str, method: str) -> Program:
    """The step of a column, by the library that has it."""
    if column in ("plain jax", "mtopt", "mtopt remat"):
        from . import jax_side

        own = jax_side.PLAIN if column == "plain jax" else method
        return jax_side.build(cell, own, remat=column == "mtopt remat")
    from . import torch_side

    return torch_side.build(cell, column.removesuffix(" torch"), method)


def turn(program: Program, count: int) -> dict[str, float]:
    """Seconds of one step, the mean of so many, by the wall and the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    program.run(count)
    return {
        "wall": (time.perf_counter() - wall) / count,
        "processor": (time.process_time() - processor) / count,
    }


def most_resident() -> int | None:
    """The most bytes that this process has had in memory; None where nobody says.

    ``getrusage`` counts what the parent had when it started this one.
    """
    status = LINUX / "status"
    if not status.exists():
        return None
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])


def resident_now() -> int | None:
    """The bytes in memory, from which :func:`most_resident` counts anew.

    A compiler takes more than most steps do, and has given it back.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system
        ctypes.CDLL(None).malloc_trim(0)
        (LINUX / "clear_refs").write_text("5")
    return most_resident()


def serve(request: dict[str, Any], lines: TextIO, answers: TextIO) -> None:
    """Builds, and answers until there are no more lines."""

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    try:
        cell = Cell(*request["cell"])
        program = build(cell, request["column"], request["method"])
        before = resident_now()
        program.run(1)
    except Exception as error:  # another library's, too: the others are measured
        answer(error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return
    answer(known=program.known._asdict(), device=program.device)
    for line in lines:
        found, most = turn(program, int(line)), most_resident()
        peak = program.accelerator_peak()
        if peak is None and most is not None and before is not None:
            peak = most - before
        answer(**found, peak=peak)


def main() -> None:
    """The process."""
    request = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {request["core"]})
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(request, sys.stdin, answers)


if __name__ == "__main__":
    main()
