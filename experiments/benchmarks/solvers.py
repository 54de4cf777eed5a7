"""What the solves cost, side by side with TorchJD: ``mtopt benchmark solvers``.

It times the K x K rule of a method alone, for the numbers of tasks in
``--solve_tasks=2,8``, from Gramian to weights, both libraries on the same float32
Gramians. Ours runs as a step runs it: inside one compiled loop, whose next Gramian
depends on the last weights,
so that nothing is hoisted or run twice at once. TorchJD's weighting is called from
Python, as its users call it. Times are minima over rounds in which all take turns, so
that what else the machine does hits all of them: read the ratios. The columns ``16
single`` and ``16 vmap`` solve sixteen problems one after another and at once.

The second table is how exact the min-norm weights are: the squared norm of the
direction above the optimum, in units of the mean squared row norm, judged in float64.

Without the extra ``bench`` (torch, torchjd) it prints ours alone. TorchJD's UPGrad,
DualProj, CAGrad and Nash-MTL need solvers of their own besides
(``torchjd[quadprog_projector,cagrad,nash_mtl]``); what is missing has a dash.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import lax
from jaxtyping import Array, Float

from mtopt.errors import UserError
from mtopt.methods.aligned_mtl import aligned_mtl_weights
from mtopt.methods.conflict_free import conflict_free_weights
from mtopt.methods.dualproj import dualproj_weights
from mtopt.methods.imtl_g import imtl_g_weights
from mtopt.methods.pcgrad import pcgrad_weights, visiting_orders
from mtopt.methods.upgrad import upgrad_weights
from mtopt.solvers import (
    bargaining_weights,
    conflict_averse_weights,
    min_norm_weights,
)

from ..common.command import command, start
from .clock import fastest

TASKS = flags.DEFINE_list("solve_tasks", ["2", "8", "40", "128"], "Numbers of tasks.")
SOLVE_ROUNDS = flags.DEFINE_integer(
    "solve_rounds", 7, "Rounds of timing.", lower_bound=1
)

ROUND_SECONDS = 0.03  # what one function is timed for in each round, at least one call
MANY = 16

Rule = Callable[[Float[Array, "K K"]], Float[Array, " K"]]


class Method(NamedTuple):
    """A rule of ours, and TorchJD's aggregator of the same method and options."""

    ours: Rule
    theirs: str
    options: dict[str, Any]


def mean(gramian: Float[Array, "K K"]) -> Float[Array, " K"]:
    """The preference 1/K."""
    return jnp.full(len(gramian), 1 / len(gramian), gramian.dtype)


def everyone(gramian: Float[Array, "K K"]) -> Array:
    """All tasks present."""
    return jnp.ones(len(gramian), bool)


def pcgrad_rule(gramian: Float[Array, "K K"]) -> Float[Array, " K"]:
    """PCGrad, with an order drawn anew for each Gramian."""
    seed = lax.bitcast_convert_type(gramian[0, 0], jnp.uint32)
    orders = visiting_orders("per_task", len(gramian), jax.random.key(seed))
    return pcgrad_weights(gramian, orders)


METHODS = {
    "mgda": Method(min_norm_weights, "MGDAWeighting", {}),
    "cagrad": Method(
        lambda g: mean(g) + conflict_averse_weights(g, 0.5),
        "CAGradWeighting",
        {"c": 0.5},
    ),
    "nash_mtl": Method(bargaining_weights, "NashMTL", {}),
    "fairgrad": Method(
        functools.partial(bargaining_weights, alpha=2.0),
        "FairGradWeighting",
        {"alpha": 2.0},
    ),
    "upgrad": Method(
        lambda g: upgrad_weights(g, mean(g), everyone(g)), "UPGradWeighting", {}
    ),
    "dualproj": Method(
        lambda g: dualproj_weights(g, mean(g), everyone(g)), "DualProjWeighting", {}
    ),
    "pcgrad": Method(pcgrad_rule, "PCGradWeighting", {}),
    "imtl_g": Method(imtl_g_weights, "IMTLGWeighting", {}),
    "aligned_mtl": Method(
        lambda g: aligned_mtl_weights(g, mean(g), scale="min"),
        "AlignedMTLWeighting",
        {},
    ),
    "conflict_free": Method(
        lambda g: conflict_free_weights(g, jnp.ones(len(g), g.dtype)), "ConFIG", {}
    ),
}
# These read the rows in TorchJD, so that they get a Jacobian with the same Gramian.
ON_ROWS = ("NashMTL", "ConFIG")


def problems(num_tasks: int) -> dict[str, np.ndarray]:
    """Gramians of random, conflicting, dependent and badly scaled rows."""
    rng = np.random.default_rng(num_tasks)
    rows = rng.normal(size=(num_tasks, 4 * num_tasks))
    common = rng.normal(size=4 * num_tasks)
    sign = np.where(np.arange(num_tasks) % 2, -1, 1)[:, None]
    families = {
        "random": rows,
        "conflict": sign * common[None] + 0.1 * rows,
        "dependent": rng.normal(size=(num_tasks, 2)) @ rng.normal(size=(2, 9)) + 1,
        "4 decades": rows * np.logspace(-2, 2, num_tasks)[:, None],
    }
    return {name: (g @ g.T).astype(np.float32) for name, g in families.items()}


def torchjd_call(
    name: str, options: dict[str, Any], gramian: np.ndarray
) -> Callable[[], object] | None:
    """A call of TorchJD's aggregator on one Gramian; None where it cannot run."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
        import torchjd.aggregation  # pyright: ignore[reportMissingImports]

        if name == "NashMTL":
            options = options | {"n_tasks": len(gramian)}
        weighting = getattr(torchjd.aggregation, name)(**options)
    except ImportError:
        return None
    matrix = np.linalg.cholesky(gramian) if name in ON_ROWS else gramian
    given = torch.from_numpy(matrix)
    return lambda: weighting(given)


def looped(rule: Rule, count: int) -> Callable[[Array], Array]:
    """``count`` solves in one compiled loop, each after the other."""

    def once(_: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        gramian, weights = state
        gramian = gramian * (1 + 1e-12 * weights[..., :1, None])
        return gramian, rule(gramian)

    @jax.jit
    def run(gramian: Array) -> Array:
        start = (gramian, jnp.zeros(gramian.shape[:-1], gramian.dtype))
        return lax.fori_loop(0, count, once, start)[1]

    return run


def ours_call(rule: Rule, gramian: np.ndarray, at_once: int | None) -> tuple[Any, int]:
    """A compiled call of ours, and how many solves (of all at once) are in it."""
    stack = jnp.asarray(gramian)
    if at_once is not None:
        stack = jnp.broadcast_to(stack, (at_once, *gramian.shape))
        rule = jax.vmap(rule)
    run = looped(rule, 1)
    jax.block_until_ready(run(stack))
    begin = time.perf_counter()
    jax.block_until_ready(run(stack))
    single = time.perf_counter() - begin
    count = max(1, min(1000, round(ROUND_SECONDS / single)))
    run = looped(rule, count)
    return lambda: jax.block_until_ready(run(stack)), count


class Timing(NamedTuple):
    """Milliseconds of one solve, of TorchJD's, and of sixteen at once."""

    ours: float
    theirs: float | None
    many: float


def measure(method: Method, num_tasks: int, rounds: int) -> Timing:
    """Times one method at one size, the three in turns."""
    gramian = problems(num_tasks)["random"]
    one, count = ours_call(method.ours, gramian, None)
    many, many_count = ours_call(method.ours, gramian, MANY)
    theirs = torchjd_call(method.theirs, method.options, gramian)
    timed = [one, many] + ([theirs] if theirs else [])
    found = fastest(timed, rounds, ROUND_SECONDS, time.perf_counter)
    return Timing(
        1e3 * found[0] / count,
        1e3 * found[2] if theirs else None,
        1e3 * found[1] / many_count,
    )


def excess(gramian: np.ndarray, weights: np.ndarray) -> float:
    """Squared norm above the optimum, over the mean squared row norm."""
    exact = gramian.astype(np.float64)
    with jax.enable_x64(True):
        best = np.asarray(min_norm_weights(jnp.asarray(exact)))

    def squared(w: np.ndarray) -> float:
        w = np.asarray(w, np.float64) / np.sum(w, dtype=np.float64)
        return float(w @ exact @ w)

    return max(squared(weights) - squared(best), 0) / np.diagonal(exact).mean()


@command
def main(argv: list[str]) -> None:
    """Prints both tables."""
    del argv
    sizes = tuple(map(_number, TASKS.value))
    print("milliseconds a solve, K x K Gramian to weights, random rows, float32")
    print(
        f"{'method':<14}{'K':>4}{'mtopt':>10}{'TorchJD':>10}{'ratio':>8}"
        f"{'16 single':>11}{'16 vmap':>10}{'ratio':>8}"
    )
    for name, method in METHODS.items():
        for num_tasks in sizes:
            ours, theirs, many = measure(method, num_tasks, SOLVE_ROUNDS.value)
            other = "-" if theirs is None else f"{theirs:.3f}"
            ratio = "-" if theirs is None else f"{theirs / ours:.1f}"
            print(
                f"{name:<14}{num_tasks:>4}{ours:>10.4f}{other:>10}{ratio:>8}"
                f"{MANY * ours:>11.3f}{many:>10.3f}{MANY * ours / many:>8.1f}",
                flush=True,
            )
    print("\nexcess of the min-norm weights")
    print(f"{'K':<4}{'family':<12}{'mtopt':>9}{'TorchJD':>10}")
    for num_tasks in sizes:
        for family, gramian in problems(num_tasks).items():
            mine = excess(gramian, np.asarray(min_norm_weights(jnp.asarray(gramian))))
            call = torchjd_call("MGDAWeighting", {}, gramian)
            other = (
                "-" if call is None else f"{excess(gramian, np.asarray(call())):.1e}"
            )
            print(f"{num_tasks:<4}{family:<12}{mine:>9.1e}{other:>10}")


def _number(text: str) -> int:
    """A number of tasks from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise UserError(
            f"--solve_tasks has {text!r}: expected numbers from 1: --solve_tasks=2,40"
        )
    return int(text)


if __name__ == "__main__":
    start(main)
