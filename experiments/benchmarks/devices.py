"""What a step costs each of several devices: FLOPs, bytes received, memory.

``mtopt benchmark devices``. The step of an MLP is compiled for 1, 2, 4 and 8 devices,
which a CPU simulates; nothing runs. ``fall`` is by how much the FLOPs of a device fall
against one device that does it all. ``received MB`` is what a device receives in a
step from others, ``rows MB`` and ``factors MB`` what an all-to-all of rows, and a
gathering of all activations and deltas, would take in its place.
"""

import dataclasses
import json
from typing import Any, NamedTuple

import jax
import optax
from absl import flags

import mtopt

from ..common.command import command, start
from .collectives import received
from .step.cells import HIDDEN, parse
from .step.jax_side import problem

METHODS = flags.DEFINE_multi_string(
    "devices_method", ["equal_weighting", "mgda"], "Methods."
)
CELL = flags.DEFINE_string("devices_cell", "mlp:16", "An MLP, as of benchmark step.")
COUNTS = flags.DEFINE_list(
    "devices_counts", ["1", "2", "4", "8"], "Numbers of devices."
)
AS_JSON = flags.DEFINE_bool("devices_json", False, "A line of JSON for each.")


class Case(NamedTuple):
    """How the step of a method stands on devices."""

    inputs: str
    method: str
    data: int
    task: int
    parameters: str


class Cost(NamedTuple):
    """What it costs a device."""

    mflop: float
    received_mb: float
    rows_mb: float
    factors_mb: float
    temporary_mb: float


def cases(methods: list[str], counts: list[int]) -> list[Case]:
    """Samples of shared inputs dealt out, tasks of disjoint ones, and other ways."""
    most = max(counts)
    found = []
    for method in methods:
        found += [Case("shared", method, n, 1, "copied") for n in counts]
        found += [Case("shared", method, 1, most, "copied")]
        found += [Case("shared", method, most, 1, "sharded")]
        found += [Case("disjoint", method, 1, n, "copied") for n in counts]
        found += [Case("disjoint", method, most, 1, "copied")]
    return found


def cost(case: Case, cell: str) -> Cost:
    """The compiled step's figures."""
    of = parse(cell)
    model, params, model_state, batch = problem(of)
    tasks = model.tasks
    if case.inputs == "disjoint":
        tasks = dataclasses.replace(tasks, x_axis=0)
        x = jax.numpy.broadcast_to(batch.x, (of.tasks, *batch.x.shape))
        batch = mtopt.Batch(x, batch.y, batch.mask)
    tx = mtopt.chain(mtopt.method(case.method, of.tasks), optax.sgd(0.1))
    devices = mtopt.Devices(tasks, case.data, case.task, case.parameters)
    key = jax.random.key(1)
    state = mtopt.TrainState.create(params, tx, key, model_state)
    step = jax.jit(devices.run(mtopt.make_train_step(tasks, tx)), donate_argnums=0)
    placed = devices.place_state(state), devices.place_batch(batch)
    compiled: Any = step.lower(*placed).compile()
    n = devices.count
    inputs = (of.network.shape[0], *HIDDEN[:-1])
    each = 1 if case.inputs == "shared" else of.tasks
    size = sum(leaf.size for leaf in jax.tree.leaves(params["shared"]))
    read = of.batch * (each * sum(inputs) + of.tasks * sum(HIDDEN))
    return Cost(
        compiled.cost_analysis()["flops"] / 1e6,
        sum(received(compiled.as_text(), n).values()) / 1e6,
        4 * of.tasks * size / n / 1e6 * (n > 1),
        4 * read / 1e6 * (n > 1),
        compiled.memory_analysis().temp_size_in_bytes / 1e6,
    )


@command
def main(argv: list[str]) -> None:
    """Prints a line for each case."""
    del argv
    counts = [int(count) for count in COUNTS.value]
    jax.config.update("jax_num_cpu_devices", max(counts))
    head = f"{'inputs':<10}{'method':<17}{'parameters':<12}{'data':>5}{'task':>5}"
    titles = ("MFLOP", "fall", "received MB", "rows MB", "factors MB", "temporary MB")
    if not AS_JSON.value:
        print(head + "".join(f"{title:>14}" for title in titles))
    alone: dict[tuple[str, str], float] = {}
    for case in cases(METHODS.value, counts):
        found = cost(case, CELL.value)
        if AS_JSON.value:
            print(json.dumps(case._asdict() | found._asdict()), flush=True)
            continue
        first = alone.setdefault((case.inputs, case.method), found.mflop)
        mflop, *others = found
        numbers = (mflop, first / mflop, *others)
        print(
            f"{case.inputs:<10}{case.method:<17}{case.parameters:<12}{case.data:>5}"
            f"{case.task:>5}" + "".join(f"{number:>14.4g}" for number in numbers),
            flush=True,
        )


if __name__ == "__main__":
    start(main)
