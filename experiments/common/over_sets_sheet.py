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
      cpu_seconds: that its training took; nan where a part of it is not known.
      trials: how many.
      failed: how many of these failed or diverged.
    """

    parts: Sequence[Comparison]
    cpu_seconds: float
    trials: int
    failed: int


def over_sets_sheet(
    found: OverSets, sets: Mapping[str, SetResult], lines: Sequence[str] = ()
) -> Sheet:
    """The gains of all methods on all sets, then over the sets, then the sets.

    The first by mean rank stands first.

    Args:
      found: the gains.
      sets: what is told of each.
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
    summary = Block(
        f"over {len(found.sets)} set{'s' * (len(found.sets) > 1)}",
        names,
        [_summary(found, names, scores[order], ranks[order])],
    )
    legend = [
        f"gain: of the primary test metric relative to {found.reference}, task by task "
        "and seed by seed, signed so that better is above 0.",
        f"{WON}, {LOST}: told from 0 at the {LEVEL:.0%} level, better or worse: paired "
        "t-test over the seeds, with Holm's correction for the methods of the set.",
        "mean gain: over sets, with the 95 % interval over sets; one counts as much as "
        "another.",
        "rank: mean rank over sets by the gain; 1 is best.",
        "better, worse: sets on which the mean gain is above or below 0, and, in "
        f"brackets, those with {WON} or {LOST}.",
        "metric: the primary one, mean over tasks and seeds, in units of the deviation "
        "of each task's targets where their units differ; of groups of several kinds "
        "one behind the other.",
        "CPU min: of one core, all trials, compilation included.",
    ]
    if any(each.pairs < len(row.seeds) for each, row in _pairs(found)):
        legend.append("*: without the seeds that are undefined.")
    blocks = [methods, summary, _sets_block(found, sets)]
    return Sheet(blocks, [*legend, *lines], {})


def _pairs(found: OverSets) -> list[tuple]:
    rows = {row.name: row for row in found.gains.methods}
    return [(each, rows[method]) for (method, _), each in found.found.items()]


def _means(row: MethodResult) -> np.ndarray:
    """Of every set over seeds."""
    return mean_and_spread(row.metrics[..., 0], axis=0)[0]


def _gain(found: OverSets, method: str, name: str) -> Cell:
    if method == found.reference:
        return Cell("0")
    each = found.found[method, name]
    half = (each.high - each.low) / 2
    decimals = 1
    spread = "" if math.isnan(half) else number(half, decimals)
    seeds = len(found.gains.methods[0].seeds)
    note = "*" * (0 < each.pairs < seeds) + found.sign(method, name)
    return Cell(number(each.mean, decimals, "+"), spread, note)


def _summary(
    found: OverSets, names: Sequence[str], scores: np.ndarray, ranks: np.ndarray
) -> list[Column]:
    """Of every method over all sets."""
    gains = [
        "0"
        if method == found.reference
        else with_interval(paired_interval(row, np.zeros(len(row))), 1)
        for method, row in zip(names, scores, strict=True)
    ]
    signs = [
        [found.sign(m, n) if m != found.reference else "" for n in found.sets]
        for m in names
    ]
    return [
        Column("mean gain", list(map(Cell, gains))),
        Column("rank ↓", [Cell(number(rank, 2)) for rank in ranks]),
        Column(
            "better",
            [
                Cell(f"{(row > 0).sum()} ({own.count(WON)})")
                for row, own in zip(scores, signs, strict=True)
            ],
        ),
        Column(
            "worse",
            [
                Cell(f"{(row < 0).sum()} ({own.count(LOST)})")
                for row, own in zip(scores, signs, strict=True)
            ],
        ),
    ]


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
