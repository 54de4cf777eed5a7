"""What a fit of R-MTGB costs, beside a loop of scikit-learn's stumps and libraries.

``mtopt benchmark boosting`` prints four tables, or those of ``--boosting_tables``:

- ``stumps``: R-MTGB and the loop side by side on scenario 4 and, where the variable
  ``MTOPT_DATA_DIR`` names the folder of data sets, school and landmine: seconds to
  compile, seconds of a fit (the fastest of a few, taken in turns), their ratio, and how
  far apart their predictions of the training rows are;
- ``depth``: boosting beside LightGBM, XGBoost and scikit-learn at depth 1, 4 and 6, see
  :mod:`experiments.benchmarks.boosting_depth`, on the data of ``--boosting_data``;
- ``repeats``: 100 repeats of scenario 4 in one program;
- ``growth``: seconds against rows, features, iterations and depth.

Seconds on a CPU are those of the processor; ``taskset -c 1`` holds all on one core.

The loop is the published algorithm: a ``DecisionTreeRegressor(max_depth=1)`` for every
tree, each task's trees of block 3 one by one. It starts from the same theta. Where two
splits gain the same the two may differ, and so may all that follows.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from scipy.special import expit
from sklearn.tree import DecisionTreeRegressor

from mtopt import boosting
from mtopt.data.tables.boosting_scenarios import scenario
from mtopt.data.tables.npz_file import Archive

from ..common.command import command, data_dir, start
from . import boosting_depth
from .clock import seconds

BOOSTING_TABLES = flags.DEFINE_multi_enum(
    "boosting_tables",
    ["stumps", "depth", "repeats", "growth"],
    ["stumps", "depth", "repeats", "growth"],
    "The tables to print.",
)
BOOSTING_DATA = flags.DEFINE_multi_enum(
    "boosting_data",
    list(boosting_depth.DATA),
    boosting_depth.DATA,
    "The data sets of the table of depths.",
)
BOOSTING_ROUNDS = flags.DEFINE_integer(
    "boosting_rounds", 3, "Fits of each to time.", lower_bound=1
)
REPEATS = 100


class Job(NamedTuple):
    """A data set and the settings of a fit."""

    name: str
    features: np.ndarray
    targets: np.ndarray
    task: np.ndarray
    iterations: tuple[int, int, int]
    learning_rate: float
    num_classes: int | None


def jobs(folder: pathlib.Path | None) -> list[Job]:
    """Scenario 4, and the real data that the folder has."""
    train = scenario(4, 0).train
    found = [Job("scenario 4", *train, (0, 50, 0), 1.0, None)]
    if folder is None:
        return found
    for name, iterations, classes in (
        ("school", (50, 50, 20), None),
        ("landmine", (50, 50, 50), 2),
    ):
        archive = Archive(folder / name / "data.npz")
        x, y, task = (archive[key] for key in ("x", "y", "task"))
        task = np.unique(task, return_inverse=True)[1]
        y = y.astype(np.int32) if classes else (y - y.mean()) / y.std()
        found.append(Job(name, x, y, task, iterations, 0.1, classes))
    return found


def stump_loop(job: Job, theta: np.ndarray) -> np.ndarray:
    """The scores of the training rows after boosting with scikit-learn's stumps."""
    x, y, task = job.features, job.targets.astype(float), job.task
    rate = job.learning_rate
    leaf = rate * (2 if job.num_classes == 2 else 1)
    rows = [np.flatnonzero(task == number) for number in range(len(theta))]
    common, out, non = (np.zeros(len(y)) for _ in range(3))

    def residual() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        gate = expit(theta)[task]
        scores = common + (1 - gate) * non + gate * out
        fitted = expit(scores) if job.num_classes == 2 else scores
        return y - fitted, gate, scores

    def stump(x: np.ndarray, r: np.ndarray) -> np.ndarray:
        tree = DecisionTreeRegressor(max_depth=1, random_state=0)
        return leaf * tree.fit(x, r).predict(x)

    for _ in range(job.iterations[0]):
        common = common + stump(x, residual()[0])
    for _ in range(job.iterations[1]):
        r, gate, _ = residual()
        along, slope = r * (out - non), expit(theta) * expit(-theta)
        out, non = out + stump(x, gate * r), non + stump(x, (1 - gate) * r)
        theta = theta + rate * np.bincount(task, along, len(theta)) * slope
    for _ in range(job.iterations[2]):
        r, _, _ = residual()
        for own in rows:
            common[own] += stump(x[own], r[own])
    return residual()[2]


def options(iterations: tuple[int, int, int], **others: Any) -> dict[str, Any]:
    """Keyword arguments of :func:`mtopt.boosting.fit`."""
    names = ("num_shared", "num_partition", "num_task_specific")
    return dict(zip(names, iterations, strict=True)) | others


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it returned."""
    begin = seconds()
    result = jax.block_until_ready(call())
    return seconds() - begin, result


def compiled(function: Callable[..., Any], *arrays: Any) -> tuple[float, Any]:
    """Seconds to trace and compile, and the program."""
    begin = seconds()
    program = jax.jit(function).lower(*arrays).compile()
    return seconds() - begin, program


def side_by_side(rounds: int, folder: pathlib.Path | None) -> None:
    """Prints the table of stumps."""
    print(
        f"{'fit':<12}{'rows':>7}{'tasks':>6}{'iterations':>14}{'compile s':>11}"
        f"{'mtopt s':>9}{'sklearn s':>11}{'ratio':>7}{'rms apart':>11}"
    )
    for job in jobs(folder):
        num_tasks = int(job.task.max()) + 1
        theta = 0.1 * np.random.default_rng(0).normal(size=num_tasks)
        fit = functools.partial(
            boosting.fit,
            **options(
                job.iterations,
                num_tasks=num_tasks,
                learning_rate=job.learning_rate,
                num_classes=job.num_classes,
                start="zero",
                theta=theta,
            ),
        )
        arrays = [jnp.asarray(a) for a in (job.features, job.targets, job.task)]
        compiling, program = compiled(fit, *arrays)
        ours, theirs = [], []
        for _ in range(rounds):
            spent, ensemble = timed(functools.partial(program, *arrays))
            ours.append(spent)
            spent, scores = timed(lambda job=job, theta=theta: stump_loop(job, theta))
            theirs.append(spent)
        mine = boosting.decision_function(ensemble, job.features, job.task)
        apart = np.sqrt(np.mean((np.asarray(mine) - scores) ** 2))
        print(
            f"{job.name:<12}{len(job.task):>7}{num_tasks:>6}{job.iterations!s:>14}"
            f"{compiling:>11.1f}{min(ours):>9.3f}{min(theirs):>11.3f}"
            f"{min(theirs) / min(ours):>7.1f}{apart:>11.1e}",
            flush=True,
        )


def repeats() -> None:
    """Prints the table of repeats."""
    drawing, draws = timed(lambda: [scenario(4, seed) for seed in range(REPEATS)])
    train, test = (
        jax.tree.map(lambda *leaves: np.stack(leaves), *(d[i] for d in draws))
        for i in (0, 1)
    )
    keys = jax.random.split(jax.random.key(0), REPEATS)

    def one(repeat: tuple[Any, Any, jax.Array]) -> jax.Array:
        train, test, key = repeat
        ensemble = boosting.fit(
            *train, **options((0, 50, 0), num_tasks=10, learning_rate=1.0, key=key)
        )
        predicted = boosting.predict(ensemble, test.features, test.task)
        return jnp.sqrt(jnp.mean((predicted - test.targets) ** 2))

    # One after the other: on a CPU as fast as side by side, and sooner compiled.
    data = (train, test, keys)
    compiling, program = compiled(functools.partial(jax.lax.map, one), data)
    running, errors = timed(lambda: program(data))
    print(
        f"{REPEATS} repeats of scenario 4, (0, 50, 0), fitted and tested: draw "
        f"{drawing:.1f} s, compile {compiling:.1f} s, run {running:.1f} s; "
        f"RMSE {errors.mean():.3f}, sd {errors.std():.3f}",
        flush=True,
    )


def growth(rounds: int) -> None:
    """Prints the table of growth."""
    print(
        f"{'rows':>7}{'features':>10}{'iterations':>12}{'depth':>7}"
        f"{'seconds':>9}{'ns a row, feature, tree and level':>36}"
    )
    rng = np.random.default_rng(0)
    for rows, features, count, depth in (
        (5000, 20, 30, 1),
        (10000, 20, 30, 1),
        (20000, 20, 30, 1),
        (40000, 20, 30, 1),
        (10000, 10, 30, 1),
        (10000, 40, 30, 1),
        (10000, 20, 60, 1),
        (10000, 20, 120, 1),
        (10000, 20, 30, 2),
        (10000, 20, 30, 4),
        (10000, 20, 30, 6),
    ):
        x = jnp.asarray(rng.normal(size=(rows, features)), jnp.float32)
        task = jnp.arange(rows) % 100
        y = jnp.sin(3 * x[:, 0]) + x[:, 1] * task / 100
        fit = functools.partial(
            boosting.fit,
            **options(
                (count // 3, count // 3, count // 3),
                num_tasks=100,
                learning_rate=0.1,
                theta=0.1 * rng.normal(size=100),
                max_depth=depth,
            ),
        )
        _, program = compiled(fit, x, y, task)
        call = functools.partial(program, x, y, task)
        spent = min(timed(call)[0] for _ in range(rounds))
        size = rows * features * (count * 4 / 3) * depth
        print(
            f"{rows:>7}{features:>10}{count:>12}{depth:>7}{spent:>9.3f}"
            f"{1e9 * spent / size:>36.1f}",
            flush=True,
        )


@command
def main(_: list[str]) -> None:
    """Prints the tables."""
    rounds, folder = BOOSTING_ROUNDS.value, data_dir()
    tables = {
        "stumps": lambda: side_by_side(rounds, folder),
        "depth": lambda: boosting_depth.table(rounds, folder, BOOSTING_DATA.value),
        "repeats": repeats,
        "growth": lambda: growth(rounds),
    }
    for number, name in enumerate(dict.fromkeys(BOOSTING_TABLES.value)):
        if number:
            print()
        tables[name]()


if __name__ == "__main__":
    start(main)
