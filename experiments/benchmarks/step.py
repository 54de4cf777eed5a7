"""What a multi-task step costs, against the plain step that it takes the place of.

``mtopt benchmark step``. Three steps of one model, side by side:

* ``jax.grad``: the gradient of the mean loss, written by hand without this library,
  and Adam. It is the cost of a step that knows nothing of tasks.
* ``equal_weighting``: the same update by :func:`mtopt.make_train_step`. A ratio of 1
  says that the per-task gradients which the step writes down are never computed.
* ``mgda``: the step that needs them all, their Gramian, and its solve.

The model is an MLP without biases, with one output a task. *Shared inputs*: every
sample has a label of every task. *Disjoint inputs*: every task has its own samples. The
last lines time :func:`mtopt.solvers.min_norm_weights` alone.

Compilation is timed once, from the Python function to the executable. FLOPs are those
that the compiler counts, with the body of a loop counted once (the solver of MGDA is
one). Times are wall-clock minima over rounds in which the steps take turns, so that
what else the machine does hits all of them: read the ratios.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import flags
from jaxtyping import Array, Float

import mtopt
from mtopt.solvers import min_norm_weights

from ..common.command import command, start

INPUTS = flags.DEFINE_integer("inputs", 1024, "Features of a sample.", lower_bound=1)
HIDDEN = flags.DEFINE_multi_integer(
    "hidden", [512, 512], "Width of a hidden layer; repeat it.", lower_bound=1
)
BATCH = flags.DEFINE_integer(
    "batch", 128, "Samples of a step with shared inputs.", lower_bound=1
)
OWN_BATCH = flags.DEFINE_integer(
    "own_batch", 16, "Samples of a task with disjoint inputs.", lower_bound=1
)
SHARED = flags.DEFINE_multi_integer(
    "shared", [2, 8, 40], "Number of tasks on shared inputs; repeat it.", lower_bound=1
)
DISJOINT = flags.DEFINE_multi_integer(
    "disjoint", [29, 139], "Number of tasks on disjoint inputs.", lower_bound=1
)
MANY = flags.DEFINE_integer(
    "many", 617, "Number of tasks that equal weighting alone trains.", lower_bound=1
)
SOLVE = flags.DEFINE_multi_integer(
    "solve", [2, 8, 40, 64], "Number of tasks of a solve.", lower_bound=1
)
ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds of timing.", lower_bound=1)

ROUND_SECONDS = 0.05  # what one step is timed for in each round, at least one call


class Cost(NamedTuple):
    """What one compiled function costs.

    Attributes:
      compile: seconds to compile.
      flops: FLOPs of a call.
      call: seconds of a call.
    """

    compile: float
    flops: float
    call: float


@command
def main(argv: list[str]) -> None:
    """Measures, and prints each line as it is known."""
    del argv
    device = jax.devices()[0]
    widths = "-".join(map(str, [INPUTS.value, *HIDDEN.value]))
    print(f"jax {jax.__version__} on {device.device_kind}, MLP {widths}, float32\n")
    head = (
        f"{'inputs':<8}  {'K':>4}  {'step':<15}  {'compile s':>9}  {'MFLOP':>9}  "
        f"{'ratio':>6}  {'ms/step':>9}  {'ratio':>6}"
    )
    print(f"{head}\n{'-' * len(head)}", flush=True)
    both = ("equal_weighting", "mgda")
    for num_tasks in SHARED.value:
        _print_steps("shared", num_tasks, measure_steps(num_tasks, None, both))
    many = measure_steps(MANY.value, None, both[:1])
    _print_steps("shared", MANY.value, many)
    for num_tasks in DISJOINT.value:
        _print_steps("disjoint", num_tasks, measure_steps(num_tasks, 0, both))
    head = f"{'solve':<16}  {'K':>4}  {'compile s':>9}  {'µs/call':>9}"
    print(f"\n{head}\n{'-' * len(head)}", flush=True)
    for num_tasks, cost in zip(SOLVE.value, measure_solves(SOLVE.value), strict=True):
        print(
            f"{'min_norm_weights':<16}  {num_tasks:>4}  {cost.compile:>9.2f}  "
            f"{1e6 * cost.call:>9.1f}"
        )


def measure_steps(
    num_tasks: int, x_axis: int | None, methods: Sequence[str]
) -> dict[str, Cost]:
    """The costs of the plain step and of the methods', measured in turns.

    Args:
      num_tasks: K, at least 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      methods: entries of :data:`mtopt.METHODS`.
    """
    tasks, params, batch = make_problem(num_tasks, x_axis)
    optimizer = optax.adam(1e-3)
    plain = jax.tree.map(jnp.copy, (params, optimizer.init(params)))
    loops = {"jax.grad": _Loop(plain_step(optimizer, x_axis), plain, batch)}
    for method in methods:
        tx = mtopt.chain(mtopt.METHODS[method](num_tasks), optimizer)
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        loops[method] = _Loop(mtopt.make_train_step(tasks, tx), state, batch)
    return _take_turns(loops)


def measure_solves(sizes: Sequence[int]) -> list[Cost]:
    """The costs of the min-norm solve at several K, measured in turns."""

    def solve(gramian: Array, _: None) -> tuple[Array, Array]:
        return gramian, min_norm_weights(gramian)

    loops = {}
    for k in sizes:
        rows = jax.random.normal(jax.random.key(k), (k, 4 * k)) + 0.1
        loops[k] = _Loop(jax.jit(solve), rows @ rows.T, None)
    return list(_take_turns(loops).values())


def make_problem(
    num_tasks: int, x_axis: int | None
) -> tuple[mtopt.Tasks, dict[str, Any], mtopt.Batch]:
    """K regressions by an MLP on random numbers: tasks, parameters and a batch."""
    names = tuple(f"task_{k:04d}" for k in range(num_tasks))
    widths = [INPUTS.value, *HIDDEN.value]
    keys = jax.random.split(jax.random.key(0), len(widths) + 2)
    shared = [
        jax.random.normal(key, (m, n)) * (2 / m) ** 0.5
        for key, m, n in zip(keys[3:], widths, widths[1:], strict=False)
    ]
    heads = jax.random.normal(keys[0], (num_tasks, widths[-1])) / widths[-1] ** 0.5
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, names)}
    rows = BATCH.value if x_axis is None else OWN_BATCH.value
    lead = (rows,) if x_axis is None else (num_tasks, rows)
    batch = mtopt.Batch(
        jax.random.normal(keys[1], (*lead, widths[0])),
        jax.random.normal(keys[2], (num_tasks, rows)),
        jnp.ones((num_tasks, rows), bool),
    )
    return mtopt.Tasks(names, _encode, _head_loss, x_axis), params, batch


def plain_step(
    optimizer: optax.GradientTransformation, x_axis: int | None
) -> Callable[[Any, mtopt.Batch], tuple[Any, Float[Array, ""]]]:
    """The step one writes for the mean of the losses: no per-task anything."""
    readout = "bd,kd->kb" if x_axis is None else "kbd,kd->kb"

    def mean_loss(params: Any, batch: mtopt.Batch) -> Float[Array, ""]:
        features = _encode(params["shared"], batch.x, None)
        outputs = jnp.einsum(readout, features, params["tasks"].values)
        return jnp.mean((outputs - batch.y) ** 2)

    def step(state: Any, batch: mtopt.Batch) -> tuple[Any, Float[Array, ""]]:
        params, opt_state = state
        loss, gradient = jax.value_and_grad(mean_loss)(params, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return jax.jit(step, donate_argnums=0)


def _encode(shared: Sequence[Array], x: Array, key: Any) -> Array:
    del key
    for weights in shared:
        x = jax.nn.relu(x @ weights)
    return x


def _head_loss(
    head: Array, features: Array, y: Array, mask: Array, key: Array
) -> Float[Array, ""]:
    del key
    return mtopt.masked_mean((features @ head - y) ** 2, mask)


class _Loop:
    """A compiled function ``(state, batch) -> (state, out)``, called over and over."""

    def __init__(self, function: Any, state: Any, batch: Any) -> None:
        start = time.perf_counter()
        self._call = function.lower(state, batch).compile()
        self.compile = time.perf_counter() - start
        self.flops = self._call.cost_analysis()["flops"]
        self._state, self._batch = state, batch

    def run(self, count: int) -> float:
        """Seconds of one call, the mean of so many."""
        start = time.perf_counter()
        for _ in range(count):
            self._state, out = self._call(self._state, self._batch)
        jax.block_until_ready((self._state, out))
        return (time.perf_counter() - start) / count


def _take_turns(loops: dict[Any, _Loop]) -> dict[Any, Cost]:
    """The best time of every loop over rounds in which each has its turn."""
    counts = {}
    for name, loop in loops.items():
        loop.run(1)
        counts[name] = max(1, round(ROUND_SECONDS / loop.run(1)))
    best = dict.fromkeys(loops, math.inf)
    for _ in range(ROUNDS.value):
        for name, loop in loops.items():
            best[name] = min(best[name], loop.run(counts[name]))
    return {
        name: Cost(loop.compile, loop.flops, best[name]) for name, loop in loops.items()
    }


def _print_steps(inputs: str, num_tasks: int, costs: dict[str, Cost]) -> None:
    plain = costs["jax.grad"]
    for name, cost in costs.items():
        print(
            f"{inputs:<8}  {num_tasks:>4}  {name:<15}  {cost.compile:>9.2f}  "
            f"{cost.flops / 1e6:>9.1f}  {cost.flops / plain.flops:>6.2f}  "
            f"{1e3 * cost.call:>9.2f}  {cost.call / plain.call:>6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    start(main)
