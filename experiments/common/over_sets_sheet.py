"""Methods over several data sets as a sheet."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtopt.metrics import mean_and_spread, paired_interval, ranking

from .over_sets import LEVEL, LOST, WON, OverSets
from .paired import with_interval
from .results import Comparison, MethodResult, tasks_measured
from .sheet import UNDEFINED, Block, Cell, Column, Sheet, number, sensible_decimals


class SetResult(NamedTuple):
    """What is told of one set.

    Attributes:
      parts: its comparisons, one a group of tasks.
      cpu_seconds: that its training took.
      trials: how many.
      failed: how many of these failed or diverged.
    """

    parts: Sequence[Comparison]
    cpu_seconds: float
    trials: int
    failed: int


def over_sets_sheet(
    found: OverSets,
    sets: Mapping[str, SetResult],
    *,
    beside: OverSets | None = None,
    lines: Sequence[str] = (),
) -> Sheet:
    """The gains of all methods on all sets, then over the sets, then the sets.

    The first by mean rank stands first.

    Args:
      found: the gains.
      sets: what is told of each.
      beside: the gains over another method, of which only that over the sets is told.
      lines: what else is to be said, behind the legend.
    """
    scores = np.array([_means(row) for row in found.gains.methods])
    ranks = ranking(scores, [True] * len(found.sets)).mean
    order = np.argsort(ranks, kind="stable")
    names = tuple(found.gains.methods[i].name for i in order)
    methods = Block(
        f"gain over {found.reference}, %, mean of tasks (± half of the 95 % interval "
        "over seeds), better above 0",
        names,
        [[Column(n, [_gain(found, m, n) for m in names])] for n in found.sets],
    )
    rank = Column("rank ↓", [Cell(number(float(ranks[i]), 2)) for i in order])
    count = len(found.sets)
    over = [
        Block(
            f"gain over {each.reference}, %, over {count} set{'s' * (count > 1)}",
            names,
            [[*([rank] if each is found else []), *_over_sets(each, names)]],
        )
        for each in (found, beside)
        if each is not None
    ]
    legend = [
        "gain: of the primary test metric, relative, task by task and seed by seed, "
        "signed so that better is above 0.",
        f"{WON}, {LOST}: told from 0 at the {100 * LEVEL:g} % level, better or worse: "
        "paired t-test over the seeds, with Holm's correction for the methods of the "
        "set.",
        "rank: mean rank over sets by the gain; 1 is best.",
        "mean: over sets, with the 95 % interval over sets; one counts as much as "
        "another.",
        "better, worse: sets on which the mean gain is above or below 0, and, in "
        f"brackets, those with {WON} or {LOST}.",
        "metric: the primary one, mean over tasks and seeds, in units of the deviation "
        "of each task's targets where their units differ; of groups of several kinds "
        "one behind the other.",
        "CPU min: of one core, all trials, compilation included.",
    ]
    if any("*" in cell.note for column in methods.columns for cell in column.cells):
        legend.append("*: without the seeds that are undefined.")
    blocks = [methods, *over, _sets_block(found, sets)]
    return Sheet(blocks, [*legend, *lines], {})


def _means(row: MethodResult) -> np.ndarray:
    """Of every set over seeds."""
    return mean_and_spread(row.metrics[..., 0], axis=0)[0]


def _gain(found: OverSets, method: str, name: str) -> Cell:
    """That of one method on one set."""
    if method == found.reference:
        return Cell("0")
    each = found.found[method, name]
    half = (each.high - each.low) / 2
    seeds = len(found.gains.methods[0].seeds)
    note = "*" * (0 < each.pairs < seeds) + found.sign(method, name)
    spread = "" if math.isnan(half) else number(half, 1)
    return Cell(number(each.mean, 1, "+"), spread, note)


def _over_sets(found: OverSets, names: Sequence[str]) -> list[Column]:
    """What every method gains over all sets, and on how many."""
    rows = {row.name: _means(row) for row in found.gains.methods}
    cells = {"mean": [], "better": [], "worse": []}
    for name in names:
        if name == found.reference:
            texts = ("0", UNDEFINED, UNDEFINED)
        else:
            means = rows[name]
            signs = [found.sign(name, each) for each in found.sets]
            texts = (
                with_interval(paired_interval(means, np.zeros(len(means))), 1),
                f"{(means > 0).sum()} ({signs.count(WON)})",
                f"{(means < 0).sum()} ({signs.count(LOST)})",
            )
        for own, text in zip(cells.values(), texts, strict=True):
            own.append(Cell(text))
    return [Column(head, own) for head, own in cells.items()]


def _sets_block(found: OverSets, sets: Mapping[str, SetResult]) -> Block:
    """What the sets are, and what the methods reached in units of their metrics."""
    single = found.gains.methods[0].name
    told = [found.reference, *([single] if single != found.reference else [])]
    columns = {
        "tasks": [str(sum(len(p.task_names) for p in r.parts)) for r in sets.values()],
        "metric": [
            ", ".join(p.metric_names[0] for p in r.parts) for r in sets.values()
        ],
        **{
            name: [
                ", ".join(_level(part, name) for part in r.parts) for r in sets.values()
            ]
            for name in told
        },
        "failed": [f"{r.failed} of {r.trials}" for r in sets.values()],
        "CPU min": [number(r.cpu_seconds / 60, 1) for r in sets.values()],
    }
    return Block(
        "the sets",
        tuple(sets),
        [[Column(head, list(map(Cell, cells)))] for head, cells in columns.items()],
    )


def _level(part: Comparison, name: str) -> str:
    """The mean of tasks and seeds of one row of a comparison."""
    rows = {result.name: result.metrics[..., 0] for result in part.results}
    measured = tasks_measured([*rows.values()])
    mean = float(np.nanmean(part.comparable(rows[name])[:, measured]))
    return UNDEFINED if math.isnan(mean) else number(mean, sensible_decimals([mean]))
