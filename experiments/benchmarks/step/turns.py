"""Processes that take turns: one of them works, the others wait."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from .cells import Cell

SETTINGS = {
    # A compilation that is read from a file says nothing.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    # Several processes share an accelerator.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclasses.dataclass
class Cost:
    """What one step costs.

    Attributes:
      seconds: of a step, by turn; of the processor on a CPU, of the wall elsewhere.
      compile: seconds; None without a compiler.
      flops: of a call, by the compiler.
      temporary: bytes of temporary buffers, by the compiler.
      peak: the most bytes that the steps had in memory beyond what stood there when
        the first one began; of an accelerator's memory, where there is one, all.
    """

    seconds: list[float]
    compile: float | None = None
    flops: float | None = None
    temporary: int | None = None
    peak: int | None = None


class Worker:
    """A process with one step.

    Args:
      cell: what it is of.
      column: which library's.
      method: as text.
      core: the one that it may use.
    """

    def __init__(self, cell: Cell, column: str, method: str, core: int) -> None:
        request = {"cell": cell, "column": column, "method": method, "core": core}
        command = [sys.executable, "-m", f"{__package__}.worker", json.dumps(request)]
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | SETTINGS | {"PYTHONPATH": paths},
        )
        self.built = self._answer()

    def run(self, count: int) -> dict[str, Any]:
        """What so many steps cost, a step; an error where the process is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        return {"error": f"its process ended with status {self._process.wait()}"}


@contextlib.contextmanager
def workers(
    cell: Cell, columns: Sequence[str], method: str, core: int
) -> Iterator[dict[str, Worker]]:
    """The processes of some columns, built one after another."""
    found: dict[str, Worker] = {}
    try:
        for column in columns:
            found[column] = Worker(cell, column, method, core)
        yield found
    finally:
        for worker in found.values():
            worker.close()


def take_turns(
    group: dict[str, Worker], rounds: int, turn_seconds: float
) -> tuple[dict[str, Cost], dict[str, str]]:
    """Costs by column, and the errors of those that could not be measured.

    Args:
      group: the processes; in every round each has one turn.
      rounds: how many, at least 1.
      turn_seconds: about how long a turn takes, at least one step.
    """
    costs, counts, errors = {}, {}, {}
    for name, worker in group.items():
        first = worker.built if "error" in worker.built else worker.run(1)
        if "error" in first:
            errors[name] = first["error"]
            continue
        costs[name] = Cost([], **worker.built["known"])
        counts[name] = max(1, round(turn_seconds / max(first["wall"], 1e-9)))
    for _ in range(rounds):
        for name in list(costs):
            found = group[name].run(counts[name])
            if "error" in found:
                errors[name] = found["error"]
                del costs[name]
                continue
            clock = "processor" if group[name].built["device"] == "cpu" else "wall"
            costs[name].seconds.append(found[clock])
            costs[name].peak = found["peak"]
    return costs, errors
