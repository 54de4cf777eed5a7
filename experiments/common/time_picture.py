"""What a method reaches against what a step of it takes."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from mtopt.metrics import mean_and_spread, nondominated

from .drawing import (
    INK,
    MAX_COLOURED,
    OTHERS,
    Style,
    finite,
    head_and_legend,
    line,
    mean_marker,
    save,
    style_of,
    styled,
    tidy,
)
from .literal import literal
from .results import Comparison, MethodResult, seed_count, tasks_measured
from .standing import ranked


def timed(parts: Sequence[Comparison]) -> bool:
    """Whether the steps of two methods or more have a time."""
    return sum(m.seconds_per_step > 0 for m in parts[0].methods) > 1


def time_against_quality(
    parts: Sequence[Comparison], path: str | os.PathLike[str]
) -> None:
    """Draws the primary test metric, mean of tasks, over the time of a step.

    A panel a group of tasks. Of more than 12 methods, those that no other one beats in
    both have colours and names, the others are grey.

    Args:
      parts: the results on each group; see :func:`timed`.
      path: the PNG file to write.
    """
    parts = ranked([literal(part) for part in parts])
    figure = Figure(figsize=(3.6 + 3.6 * len(parts), 4.2), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    drawn = _foremost(parts)
    for axes, part in zip(panels, parts, strict=True):
        _panel(axes, part, drawn)
    names = styled(parts[0])[: len(parts[0].results) - len(parts[0].methods)]
    names += zip(parts[0].methods, drawn, strict=True)
    title = f"{parts[0].experiment}: test metric, mean of tasks, and time of a step, "
    head_and_legend(figure, title + seed_count(parts[0]), names)
    save(
        figure,
        path,
        "The test metric of every method, mean of tasks, over the milliseconds of a "
        "step: up or down by its direction is better, left is faster.",
    )


def _panel(axes: Axes, part: Comparison, drawn: Sequence[Style]) -> None:
    """One group of tasks."""
    for method, style in zip(part.methods, drawn, strict=True):
        mean, spread = mean_and_spread(_scores(part, method), axis=0)
        time = 1000 * method.seconds_per_step
        axes.errorbar(time, mean, yerr=spread, **mean_marker(style), ls="")
    if part.baseline is not None:
        single = mean_and_spread(_scores(part, part.baseline), axis=0)[0]
        (_, style), *_ = styled(part)
        axes.axhline(float(single), **line(style))
    tidy(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    times = [m.seconds_per_step for m in part.methods if m.seconds_per_step > 0]
    wide = max(times) > 10 * min(times)
    locator = LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(0.1)
    axes.set_title(part.group, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("milliseconds of a step, all seeds at once")
    direction = "higher" if part.higher_is_better[0] else "lower"
    axes.set_ylabel(f"test {part.comparable_name} ({direction} is better)")


def _scores(part: Comparison, result: MethodResult) -> np.ndarray:
    """The mean of tasks, one number a seed."""
    measured = tasks_measured([each.metrics[..., 0] for each in part.results])
    primary = finite(part.comparable(result.metrics[..., 0]))
    return primary[:, measured].mean(axis=1)


def _foremost(parts: Sequence[Comparison]) -> list[Style]:
    """Of each method the style: grey where there are many and it is not among the best.

    The best are those that no other one beats in time and all groups of tasks.
    """
    methods = parts[0].methods
    if len(methods) <= MAX_COLOURED:
        return [style_of(i) for i in range(len(methods))]
    columns = [[method.seconds_per_step for method in methods]]
    for part in parts:
        sign = -1 if part.higher_is_better[0] else 1
        means = [mean_and_spread(_scores(part, m), axis=0)[0] for m in part.methods]
        columns.append([sign * float(mean) for mean in means])
    front = nondominated(np.array(columns).T, [False] * len(columns))
    styles = iter(map(style_of, range(len(methods))))
    grey = {"color": OTHERS, "marker": "o", "linestyle": "", "zorder": 1}
    chosen = np.cumsum(front) <= MAX_COLOURED
    return [
        next(styles) if on_front and first else grey
        for on_front, first in zip(front, chosen, strict=True)
    ]
