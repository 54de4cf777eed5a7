"""Mean ranks of methods over many tasks, and which of them do not differ."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtopt.metrics import Ranking, mean_and_spread, ranking

from .drawing import INK, head, save
from .literal import literal
from .results import Comparison, name

FEWEST_CASES = 5
"""Tasks, for mean ranks to be worth a test."""
FEWEST_METHODS = 3
GREY = "#777777"
BAR = "#0072B2"
LETTER = 0.085  # inches, about
ROW = 0.22


class Cases(NamedTuple):
    """What methods are ranked on.

    Attributes:
      methods: the names of those that all comparisons have.
      scores: the primary test metric of each task, mean over seeds, ``[M, N]``.
      higher: the direction of each task's metric, ``[N]``.
    """

    methods: tuple[str, ...]
    scores: np.ndarray
    higher: np.ndarray


def cases(parts: Sequence[Comparison]) -> Cases:
    """The tasks of comparisons as cases, without those that no method has a number for.

    Args:
      parts: groups of tasks of one experiment, or several experiments.
    """
    names = [[method.name for method in part.methods] for part in parts]
    common = tuple(name for name in names[0] if all(name in own for own in names))
    columns, higher = [], []
    for part in parts:
        own = {method.name: method.metrics[..., 0] for method in part.methods}
        means = [mean_and_spread(own[name], axis=0)[0] for name in common]
        columns.append(np.array(means).reshape(len(common), len(part.task_names)))
        higher += [part.higher_is_better[0]] * len(part.task_names)
    scores = np.concatenate(columns, axis=1)
    known = ~np.isnan(scores).all(axis=0)
    return Cases(common, scores[:, known], np.array(higher)[known])


def enough(parts: Sequence[Comparison]) -> bool:
    """Whether there are so many methods and tasks that ranks say something."""
    methods, count = cases(parts).scores.shape
    return methods >= FEWEST_METHODS and count >= FEWEST_CASES


def not_apart(mean_ranks: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Runs of ranks that differ by no more than a limit, none within another one.

    Args:
      mean_ranks: in ascending order.
      limit: the critical difference.

    Returns:
      The first and the last of each run of two or more.

    Example:
      >>> not_apart(np.array([1.0, 1.5, 2.2, 4.0]), 1.0)
      [(0, 1), (1, 2)]
    """
    ends = np.searchsorted(mean_ranks, mean_ranks + limit, side="right") - 1
    runs = [(i, int(end)) for i, end in enumerate(ends) if end > i]
    return [run for i, run in enumerate(runs) if not i or run[1] > runs[i - 1][1]]


def critical_differences(
    parts: Sequence[Comparison], path: str | os.PathLike[str], *, of: str = "tasks"
) -> None:
    """Draws the mean ranks on a line; a bar joins those that do not differ.

    By the tests of Friedman and Nemenyi at the 5 % level, with tasks as cases, which
    count as independent; see :func:`mtopt.metrics.ranking`.

    Args:
      parts: groups of tasks of one experiment, or several experiments; see
        :func:`enough`.
      path: the PNG file to write.
      of: what the cases are, where tasks stand for something else.

    Source:
      Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7,
      2006.
    """
    methods, scores, higher = cases([literal(part) for part in parts])
    found = ranking(scores, higher)
    order = np.argsort(found.mean, kind="stable")
    names, means = [methods[i] for i in order], found.mean[order]
    runs = not_apart(means, found.critical_difference)
    half = (len(names) + 1) // 2
    left, right = (
        LETTER * (max(map(len, some)) + 6) for some in (names[:half], names[half:])
    )
    below = 0.3 + 0.12 * len(runs)
    height = 0.95 + below + ROW * half
    figure = Figure(figsize=(left + 5.5 + right, height))
    box = (left, 0.05, 5.5, height - 1.0)
    size = (*figure.get_size_inches(),) * 2
    axes = figure.add_axes(tuple(b / s for b, s in zip(box, size, strict=True)))
    axes.set(xlim=(1, len(names)), ylim=(-(below + ROW * half), 0.35))
    axes.axis("off")
    _axis(axes, len(names), found.critical_difference)
    for i, (method, rank) in enumerate(zip(names, means, strict=True)):
        first = i < half
        level = -below - ROW * (i if first else len(names) - 1 - i)
        edge = 1 if first else len(names)
        axes.plot([rank, rank, edge], [0, level, level], color=GREY, lw=0.9)
        text = f"{method}  {rank:.2f}" if first else f"{rank:.2f}  {method}"
        _beside(axes, edge, level, f" {text} ", first)
    for i, (start, stop) in enumerate(runs):
        level = -0.2 - 0.12 * i
        bar = [means[start] - 0.03, means[stop] + 0.03]
        style = {"color": BAR, "lw": 3.5, "solid_capstyle": "butt"}
        axes.plot(bar, [level] * 2, clip_on=False, **style)
    head(figure, _title(parts, found, of))
    save(
        figure,
        path,
        f"Mean ranks of {len(names)} methods over {found.cases} {of} on a line; a bar "
        "joins those that do not differ.",
    )


def _title(parts: Sequence[Comparison], found: Ranking, of: str) -> str:
    """What was ranked, and what the tests say."""
    experiments = dict.fromkeys(literal(part).experiment for part in parts)
    what = name(literal(parts[0])) if len(parts) == 1 else ", ".join(experiments)
    p_value = "< 0.001" if found.p_value < 0.001 else f"= {found.p_value:.3f}"
    return (
        f"{what}: mean ranks over {found.cases} {of}, 1 is best\n"
        f"Friedman's test: p {p_value}; a bar joins methods that Nemenyi's test does "
        "not tell apart"
    )


def _axis(axes: Axes, count: int, limit: float) -> None:
    """The line of ranks, and the critical difference above it."""
    axes.plot([1, count], [0, 0], color=INK, lw=1.2, clip_on=False)
    every = 1 if count <= 12 else 5
    for rank in range(1, count + 1):
        named = rank in (1, count) or rank % every == 0
        axes.plot([rank] * 2, [0, 0.08 if named else 0.04], color=INK, lw=1)
        if named:
            axes.text(rank, 0.1, f"{rank}", ha="center", va="bottom", fontsize=9)
    end = min(1 + limit, count)
    axes.plot([1, end], [0.34] * 2, color=INK, lw=1.6, clip_on=False)
    words = f"critical difference {limit:.2f}"
    axes.text(1, 0.38, words, ha="left", va="bottom", fontsize=9, color=INK)


def _beside(axes: Axes, edge: float, level: float, text: str, left: bool) -> None:
    """A name at an end of the line."""
    side = "right" if left else "left"
    axes.text(edge, level, text, ha=side, va="center", fontsize=9, color=INK)
