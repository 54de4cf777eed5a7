"""Why the gradients of K tasks cost more time than their FLOPs say, part after part.

``mtopt benchmark rows``. On the MLP of ``mtopt benchmark step``, for each number of
tasks in ``--rows_tasks=2,8``:

* ``gradient``: that of the mean loss;
* ``rows at once``: the gradients of all tasks by one vmapped backward pass;
* ``rows in a loop``: the same, one task after another;
* ``rows``: the same as the library writes them, a layer as one product;
* ``product``: all inner products of these rows, one matrix product a parameter;
* ``in chunks``: the same by :func:`mtopt.gramian`;
* ``without rows``: all inner products from activations and deltas, forward and backward
  pass included, by :meth:`mtopt.Evaluation.task_gradients`.

A time is the median over turns, of the processor on a CPU: hold the program on one core
(``taskset -c 1``). ``ns a kFLOP`` would be the same everywhere if FLOPs were all that
costs. ``faults`` are the pages that a call has the system map anew: arrays beyond what
the allocator keeps are given back after each call.
"""

import resource
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jaxtyping import Array, Float

import mtopt

from ..common.command import command, start
from .clock import seconds
from .step.cells import parse
from .step.jax_side import problem

TASKS = flags.DEFINE_list("rows_tasks", ["2", "8", "40"], "Numbers of tasks.")
TURNS = flags.DEFINE_integer("rows_turns", 9, "Turns of each part.", lower_bound=1)


# The compiler counts the body of a loop once: these do the arithmetic of those.
LOOPS = {"rows in a loop": "rows at once", "in chunks": "product"}


class Part(NamedTuple):
    """What a call of one part costs."""

    milliseconds: float
    mflop: float
    faults: float


@command
def main(argv: list[str]) -> None:
    """Prints a line for each part."""
    del argv
    print(
        f"{'K':>3}  {'part':<15}{'ms':>9}{'/ gradient':>12}{'MFLOP':>9}"
        f"{'/ gradient':>12}{'ns a kFLOP':>12}{'faults':>9}"
    )
    for tasks in TASKS.value:
        found = measure(parts(f"mlp:{tasks}"), TURNS.value)
        plain = found["gradient"]
        for name, part in found.items():
            rate = 1e3 * part.milliseconds / part.mflop
            print(
                f"{tasks:>3}  {name:<15}{part.milliseconds:>9.2f}"
                f"{part.milliseconds / plain.milliseconds:>12.2f}{part.mflop:>9.0f}"
                f"{part.mflop / plain.mflop:>12.2f}{rate:>12.1f}{part.faults:>9.0f}",
                flush=True,
            )


def parts(cell: str) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Each part's function and arguments."""
    model, params, model_state, batch = problem(parse(cell))

    def at(batch: mtopt.Batch) -> Any:
        return model.tasks.problem(batch, jax.random.key(1), model_state)

    def gradient(params: Any, batch: mtopt.Batch) -> Any:
        return jax.grad(lambda params: at(batch).losses(params).mean())(params)

    def at_once(params: Any, batch: mtopt.Batch) -> Any:
        def losses(shared: Any) -> Float[Array, " K"]:
            return at(batch).losses({**params, "shared": shared})

        return jax.jacrev(losses)(params["shared"])

    def rows(params: Any, batch: mtopt.Batch) -> Any:
        return at(batch).losses_and_grads(params)[1]["shared"]

    def in_a_loop(params: Any, batch: mtopt.Batch) -> Any:
        return at(batch).losses_and_grads(params, passes="map")[1]["shared"]

    def product(rows: Any) -> Float[Array, "K K"]:
        flat = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(rows)]
        return jnp.sum(jnp.stack([leaf @ leaf.T for leaf in flat]), axis=0)

    def without_rows(params: Any, batch: mtopt.Batch) -> Float[Array, "K K"]:
        return at(batch).task_gradients(params).gramian()

    given = (params, batch)
    written = (jax.jit(rows)(*given),)
    return {
        "gradient": (gradient, given),
        "rows at once": (at_once, given),
        "rows in a loop": (in_a_loop, given),
        "rows": (rows, given),
        "product": (product, written),
        "in chunks": (mtopt.gramian, written),
        "without rows": (without_rows, given),
    }


def measure(
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]], turns: int
) -> dict[str, Part]:
    """What every part costs, in turns."""
    programs: dict[str, Any] = {
        name: jax.jit(function).lower(*arguments).compile()
        for name, (function, arguments) in functions.items()
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    faults: dict[str, list[int]] = {name: [] for name in programs}
    for turn in range(turns + 1):
        for name, program in programs.items():
            before, begin = _faults(), seconds()
            jax.block_until_ready(program(*functions[name][1]))
            if turn:  # the first call is the one that loads
                times[name].append(seconds() - begin)
                faults[name].append(_faults() - before)
    return {
        name: Part(
            1e3 * statistics.median(times[name]),
            programs[LOOPS.get(name, name)].cost_analysis()["flops"] / 1e6,
            statistics.median(faults[name]),
        )
        for name in programs
    }


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    start(main)
