"""What a step takes, before it runs: parameters, memory and FLOPs of what is compiled.

``--estimate`` of the command line. Nothing is trained and nothing is written: the step
is compiled for the shapes of its arguments.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax

from mtopt.batch import Batch
from mtopt.errors import UserError
from mtopt.per_task import task_names
from mtopt.training.program import Program
from mtopt.training.program_memory import ProgramMemory


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What one step takes, of all seeds that it trains.

    Attributes:
      shared: the number of parameters that all tasks have in common, of one seed.
      heads: that of the tasks' own.
      rows: the bytes of all per-task gradients of the shared parameters, 4 K D in
        float32. A step holds them where its method asks for rows, or where that is
        cheaper than outer products.
      arguments: the bytes of state and batch.
      temporary: the bytes of all that the step makes and drops again, and of those
        results that take the place of no argument.
      flops: by the compiler, to which the body of a loop is one pass.
    """

    shared: int
    heads: int
    rows: int
    arguments: int
    temporary: int
    flops: float

    @property
    def memory(self) -> int:
        """All bytes that the step needs at once."""
        return self.arguments + self.temporary


def step_cost(program: Program, batch: Batch) -> StepCost:
    """Compiles the step of a run, and says what it takes.

    Args:
      program: of the run.
      batch: a batch of all its seeds, or the shapes of one.
    """
    count = program.models[0]
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
    state = jax.eval_shape(program.init, keys)
    step: Any = program.step
    compiled = step.lower(state, batch).compile()
    memory = ProgramMemory.of(compiled)
    if memory is None:
        raise UserError(
            f"{jax.default_backend()} does not say what memory a program takes: "
            "expected a platform whose compiler does"
        )
    shared, heads = (
        jax.tree.leaves(state.params[part]) for part in ("shared", "tasks")
    )
    size_of_rows = sum(leaf.size * leaf.dtype.itemsize for leaf in shared)
    return StepCost(
        shared=sum(leaf.size for leaf in shared) // count,
        heads=sum(leaf.size for leaf in heads) // count,
        rows=len(task_names(state.params)) * size_of_rows,
        arguments=memory.arguments,
        temporary=memory.temporary,
        flops=compiled.cost_analysis()["flops"],
    )


def memory_of(device: Any) -> int | None:
    """The bytes of memory that a device has, on a CPU the machine's; None: unknown."""
    stats = device.memory_stats()
    if stats is not None:
        return stats.get("bytes_limit")
    if device.platform == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def text_of(title: str, costs: Mapping[str, StepCost], device: Any = None) -> str:
    """The table of an estimate, and what does not fit.

    Args:
      title: what is trained.
      costs: method to what its step takes.
      device: where it would run; JAX's first one unless given.
    """
    device = jax.devices()[0] if device is None else device
    heads = ("shared", "heads", "rows MB", "arguments MB", "temporary MB", "MFLOP")
    label = max(map(len, costs)) + 2
    lines = [title, "", f"{'':{label}}" + "".join(f"{each:>14}" for each in heads)]
    for name, cost in costs.items():
        sizes = (cost.rows, cost.arguments, cost.temporary, cost.flops)
        texts = [f"{cost.shared:,}", f"{cost.heads:,}"]
        texts += [f"{size / 1e6:,.1f}" for size in sizes]
        lines.append(f"{name:{label}}" + "".join(f"{each:>14}" for each in texts))
    lines += ["", *_fitting(costs, device)]
    return "\n".join(lines)


def _fitting(costs: Mapping[str, StepCost], device: Any) -> list[str]:
    """A sentence for each method that the device has too little memory for."""
    memory = memory_of(device)
    if memory is None:
        return [f"{device.device_kind} does not say how much memory it has."]
    # What stands on the device already: the data set, where it is not streamed.
    data = sum(each.nbytes for each in jax.live_arrays())
    has = f"{device.device_kind} has {_size(memory)}"
    found = [
        f"{name} does not fit: its step takes {_size(cost.memory)} beside "
        f"{_size(data)} of data, and {has}. Less memory takes a smaller "
        "--config.batch_size, where the field is there --config.micro_batches or "
        "--config.remat, or fewer stacked seeds."
        for name, cost in costs.items()
        if cost.memory + data > memory
    ]
    largest = max(cost.memory for cost in costs.values())
    return found or [
        f"Every step fits: the largest takes {_size(largest)} beside "
        f"{_size(data)} of data, and {has}."
    ]


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
