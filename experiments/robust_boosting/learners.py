"""The learners that experiments on boosting compare: their blocks, grids, searches."""

import itertools
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from mtopt import boosting
from mtopt.boosting.learner import DEEPEST, STARTS, THETA_GRADIENTS
from mtopt.data.division import adjoined
from mtopt.data.equal_rows import equal_rows
from mtopt.data.tables.boosting_scenarios import Rows
from mtopt.errors import UserError, expect, expect_one_of
from mtopt.grammar import CallText

from ..common.run_folder import read_arrays, write_arrays

FOLDS = 5
TRIED = (20, 30, 50, 100)  # iterations of a block, in a search

Counts = tuple[int, int, int]  # iterations of the three blocks: n1, n2, n3
Given = tuple[int | None, int | None, int | None]
Grid = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class Learner(NamedTuple):
    """One of the five learners.

    Attributes:
      counts: its iterations, where they are not searched.
      grid: those that a search tries.
      options: others of :func:`mtopt.boosting.fit`.
      task_as_feature: whether it sees the task as one-hot columns.
    """

    counts: Counts
    grid: Grid
    options: dict[str, Any]
    task_as_feature: bool = False


class Fitted(NamedTuple):
    """What a learner came to in R repeats with T tasks.

    Attributes:
      counts: the iterations of the blocks, ``[R, 3]``.
      theta: of every task, ``[R, T]``; without meaning where block 2 is empty.
      predictions: of the test rows, ``[R, N]``.
      seconds: what all repeats took, compiling included.
    """

    counts: np.ndarray
    theta: np.ndarray
    predictions: np.ndarray
    seconds: np.ndarray


def r_mtgb(
    counts: Counts,
    longest: int,
    *,
    num_shared: int | None = None,
    num_partition: int | None = None,
    num_task_specific: int | None = None,
    theta_gradient: str = "sum",
    theta_learning_rate: float | None = None,
    max_depth: int = 1,
    start: str = "zero",
) -> Learner:
    """All three blocks; ``theta_learning_rate=0`` leaves theta where it starts.

    Args:
      counts: the iterations that are used where none are given.
      longest: iterations that a search of the last block goes up to; the others go up
        to 50.
      num_shared: of block 1; as all three, given it is not searched.
      num_partition: of block 2.
      num_task_specific: of block 3.
      theta_gradient: see :func:`mtopt.boosting.fit`, as the others.
      theta_learning_rate: the step of theta.
      max_depth: levels of splits.
      start: of classes, at 0 as the published learners, or at their ``log_odds``.
    """
    expect_one_of("theta_gradient", theta_gradient, THETA_GRADIENTS)
    if theta_learning_rate is not None:
        step = theta_learning_rate
        expect(0 <= step < np.inf, "theta_learning_rate", step, "a number, at least 0")
    return _learner(
        counts,
        (num_shared, num_partition, num_task_specific),
        ((0, *_up_to(50)), _up_to(50), (0, *_up_to(longest))),
        max_depth=max_depth,
        start=start,
        theta_gradient=theta_gradient,
        theta_learning_rate=theta_learning_rate,
    )


def mtgb(
    counts: Counts,
    longest: int,
    *,
    num_shared: int | None = None,
    num_task_specific: int | None = None,
    max_depth: int = 1,
    start: str = "zero",
) -> Learner:
    """Plain multi-task boosting: without block 2."""
    given = (num_shared, None, num_task_specific)
    grid = (_up_to(50), (0,), (0, *_up_to(longest)))
    return _learner(counts, given, grid, max_depth=max_depth, start=start)


def stl(
    counts: Counts,
    longest: int,
    *,
    num_task_specific: int | None = None,
    max_depth: int = 1,
    start: str = "zero",
) -> Learner:
    """Every task alone: block 3."""
    given, grid = (None, None, num_task_specific), ((0,), (0,), _up_to(longest))
    return _learner(counts, given, grid, max_depth=max_depth, start=start)


def pooling(
    counts: Counts,
    longest: int,
    *,
    num_shared: int | None = None,
    max_depth: int = 1,
    start: str = "zero",
) -> Learner:
    """One model of all rows: block 1."""
    given, grid = (num_shared, None, None), (_up_to(longest), (0,), (0,))
    return _learner(counts, given, grid, max_depth=max_depth, start=start)


def task_as_feature(
    counts: Counts,
    longest: int,
    *,
    num_shared: int | None = None,
    max_depth: int = 1,
    start: str = "zero",
) -> Learner:
    """Pooling that sees which task a row is of."""
    plain = pooling(
        counts, longest, num_shared=num_shared, max_depth=max_depth, start=start
    )
    return plain._replace(task_as_feature=True)


LEARNERS = {
    "r_mtgb": r_mtgb,
    "mtgb": mtgb,
    "stl": stl,
    "pooling": pooling,
    "task_as_feature": task_as_feature,
}


def build(
    texts: tuple[str, ...], counts: Mapping[str, Counts], longest: int
) -> dict[str, Learner]:
    """The learners that a configuration names.

    Args:
      texts: each a name, or one with options as in ``r_mtgb(num_partition=30)``.
      counts: name to its iterations, where the text gives none.
      longest: iterations that a search goes up to.

    Raises:
      UserError: for an unknown one, or an option out of range.

    Example:
      >>> found = build(("stl(num_task_specific=9)",), {"stl": (0, 0, 30)}, 50)
      >>> found["stl(num_task_specific=9)"].counts
      (0, 0, 9)
    """
    parsed = {text: _parse(text) for text in texts}
    return {
        text: call.build(counts[call.name], longest) for text, call in parsed.items()
    }


def name_of(text: str) -> str:
    """The learner that a text with options names.

    Example:
      >>> name_of("stl(num_task_specific=9)")
      'stl'
    """
    return _parse(text).name


def _parse(text: str) -> CallText:
    return CallText.parse("learner", text, LEARNERS, arguments=2)


def fits(grid: Grid) -> list[tuple[Counts, dict[Counts, int]]]:
    """The fits that a grid needs: what each is asked for, and settings to its stages.

    A fit goes through all shorter last blocks on its way, so that settings which
    differ in the last block alone share one.

    Example:
      >>> for counts, stages in fits(((0, 20), (30,), (0, 50))):
      ...     print(counts, stages)
      (0, 30, 50) {(0, 30, 0): 29, (0, 30, 50): 79}
      (20, 30, 50) {(20, 30, 0): 49, (20, 30, 50): 99}
    """
    shared, partition, specific = grid
    if partition == specific == (0,):
        return [((max(shared), 0, 0), {(n, 0, 0): n - 1 for n in shared if n})]
    found = []
    for n1, n2 in itertools.product(shared, partition):
        total = {(n1, n2, n3): n1 + n2 + n3 for n3 in specific}
        stages = {counts: n - 1 for counts, n in total.items() if n}
        found.append(((n1, n2, max(specific)), stages))
    return found


def folds(rows: Rows, seed: int) -> np.ndarray:
    """The fold of every row, 0 to 4: a fifth of each task, up to one row.

    Rows of a task with equal features share a fold, and count as one.

    Example:
      >>> task = np.array([0] * 10 + [1] * 5)
      >>> rows = Rows(np.arange(15.)[:, None], np.zeros(15), task)
      >>> np.bincount(folds(rows, 0)).tolist()
      [3, 3, 3, 3, 3]
    """
    equal = equal_rows(rows.features, rows.task)
    drawn = np.random.default_rng(seed).random(len(equal))
    bunches = adjoined(np.lexsort((drawn, rows.task)), equal)
    fold = np.empty(len(equal), np.int32)
    for number, bunch in enumerate(bunches):
        fold[bunch] = number % FOLDS
    return fold


def run_all(
    path: pathlib.Path,
    learners: Mapping[str, Learner],
    train: Rows,
    test: Rows,
    fold: np.ndarray | None,
    **settings: Any,
) -> dict[str, Fitted]:
    """Runs the learners that the file does not hold yet, and adds each to it.

    Args:
      path: the ``.npz`` file of finished learners.
      learners: what to run.
      train: rows to fit, all with a leading axis of R repeats.
      test: rows to predict, likewise.
      fold: of the rows to fit, likewise; None uses the learners' own counts.
      **settings: ``num_tasks``, ``learning_rate`` and ``num_classes``, as in
        :func:`mtopt.boosting.fit`, and ``seeds`` of theta, R of them.
    """
    stored = read_arrays(path)
    for name, learner in learners.items():
        if f"{name}/predictions" in stored:
            continue
        fitted = _run(name, learner, train, test, fold, **settings)
        for field, value in fitted._asdict().items():
            stored[f"{name}/{field}"] = value
        write_arrays(path, stored)
        print(f"{path.stem}: {name} took {fitted.seconds:.1f} s", flush=True)
    return {
        name: Fitted(*(stored[f"{name}/{field}"] for field in Fitted._fields))
        for name in learners
    }


def _run(
    name: str,
    learner: Learner,
    train: Rows,
    test: Rows,
    fold: np.ndarray | None,
    *,
    num_tasks: int,
    learning_rate: float,
    num_classes: int | None,
    seeds: tuple[int, ...],
) -> Fitted:
    """All repeats in one program a fit; of several settings each repeat's best.

    The repeats run one after the other within it, which on a CPU is as fast as side by
    side and compiles in half the time. The best setting has the lowest mean squared
    error, or the fewest wrong classes, of all rows when held out; of equal ones the
    first. It needs no further fit: that to all rows belongs to the same program.
    """
    begin = time.perf_counter()
    n1, n2, n3 = learner.counts
    grid = ((n1,), (n2,), (n3,)) if fold is None else learner.grid
    rows = np.arange(len(seeds))
    counts = np.zeros((len(seeds), 3), np.int32)
    theta = np.zeros((len(seeds), num_tasks), np.float32)
    predictions = np.zeros(test.targets.shape, test.targets.dtype)
    lowest = np.full(len(seeds), np.inf)
    for asked, stages in tqdm(fits(grid), desc=name, disable=None, leave=False):
        kept = np.array([*stages.values()])
        options = {
            "num_tasks": num_tasks,
            "num_shared": asked[0],
            "num_partition": asked[1],
            "num_task_specific": asked[2],
            "learning_rate": learning_rate,
            "num_classes": num_classes,
            **learner.options,
        }

        def columns(part: Rows, learner: Learner = learner) -> Any:
            if learner.task_as_feature:
                return boosting.append_task(part.features, part.task, num_tasks)
            return part.features

        def one(
            repeat: tuple[Any, ...],
            options: Mapping[str, Any] = options,
            kept: np.ndarray = kept,
        ) -> tuple[Any, ...]:
            train, test, fold, seed = repeat
            key = jax.random.key(seed)

            def stages_of(part: Rows, weights: Any) -> tuple[Any, Any]:
                ensemble = boosting.fit(
                    columns(train),
                    train.targets,
                    train.task,
                    key=key,
                    weights=weights,
                    **options,
                )
                found = boosting.staged_predict(ensemble, columns(part), part.task)
                return found[kept], ensemble.theta

            def cost_of_fold(number: jax.Array) -> jax.Array:
                out = fold == number
                found, _ = stages_of(train, (~out).astype(np.float32))
                apart = found - train.targets[None]
                cost = apart**2 if num_classes is None else apart != 0
                return (out[None] * cost).mean(axis=1)

            cost = np.zeros(len(kept), np.float32)
            if fold is not None:
                cost = jax.lax.map(cost_of_fold, np.arange(FOLDS)).sum(axis=0)
            return cost, *stages_of(test, None)

        program = jax.jit(lambda repeats, one=one: jax.lax.map(one, repeats))
        repeats = (train, test, fold, np.array(seeds))
        cost, found, gates = (np.asarray(a) for a in program(repeats))
        best = cost.argmin(axis=1)
        better = cost[rows, best] < lowest
        lowest = np.where(better, cost[rows, best], lowest)
        counts[better] = np.array([*stages])[best[better]]
        theta[better] = gates[better]
        predictions[better] = found[rows, best][better]
    return Fitted(counts, theta, predictions, np.array(time.perf_counter() - begin))


def _up_to(longest: int) -> tuple[int, ...]:
    return tuple(count for count in TRIED if count <= longest)


def _learner(counts: Counts, given: Given, grid: Grid, **options: Any) -> Learner:
    depth = options["max_depth"]
    expect_one_of("start", options["start"], STARTS)
    expect(depth in range(1, DEEPEST + 1), "max_depth", depth, f"1 to {DEEPEST}")
    for count in given:
        right = count is None or (isinstance(count, int) and count >= 0)
        expect(right, "a block", count, "a number of iterations, at least 0")
    n1, n2, n3 = (
        old if new is None else new for old, new in zip(counts, given, strict=True)
    )
    if n1 + n2 + n3 == 0:
        raise UserError("no block has an iteration: expected one at least")
    a, b, c = (
        old if new is None else (new,) for old, new in zip(grid, given, strict=True)
    )
    return Learner((n1, n2, n3), (a, b, c), options)
