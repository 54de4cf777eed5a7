"""A comparison of methods as two pictures: test results, learning curves."""

import dataclasses
import itertools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt import metrics

from .literal import literal
from .results import (
    Comparison,
    MethodResult,
    seed_count,
    tasks_measured,
    title,
)

MAX_TASK_PANELS = 4
MAX_COLOURED = 12  # methods that can be told apart by colour and marker

# Okabe and Ito's palette for colour-blind readers, without its yellow, which is too
# light for lines; black and grey are left to the single-task models.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "<", ">")
LINES = ("-", "-.", ":")  # the second and third time round the colours
SINGLE_TASK = "#555555"
OTHERS = "#cccccc"
INK = "#222222"

Style = dict[str, Any]  # keyword arguments of matplotlib


def scatter(parts: Sequence[Comparison], path: str | os.PathLike[str]) -> None:
    """Draws the primary test metric of every method, against the single-task models.

    Two tasks and up to 12 methods: one against the other, each seed a dot, the mean a
    large marker with its standard deviation. Else: one line a method, each task a dot
    (its mean over seeds), the mean of tasks a large marker with its standard deviation;
    of several groups of tasks side by side. Dashed lines are the means of the
    single-task models.

    Args:
      parts: the results on each group; what is nan or infinite is not drawn.
      path: the PNG file to write.
    """
    parts = [literal(part) for part in parts]
    first, *others = parts
    metric = f"test {first.metric_names[0]}" if not others else "test metrics"
    if len(first.methods) <= MAX_COLOURED and len(first.task_names) == 2 and not others:
        figure = _plane(first)
        shown = "one task against the other: a dot a seed, a large marker the mean"
    else:
        figure = _strips(parts)
        shown = "a row a method: a dot a task, a large marker the mean of tasks"
    save(figure, path, f"The {metric} of every method, {shown}.")


def curves(parts: Sequence[Comparison], path: str | os.PathLike[str]) -> None:
    """Draws the primary validation metric against the training step.

    One panel a task, or a single one with the mean of tasks where there are more than
    4, or where there are several groups of tasks. Lines are means over seeds, shades
    reach from the lowest to the highest seed. Of more than 12 methods, those that end
    best have colours and names, the others are grey.

    Args:
      parts: the results on each group; methods without curves are left out, as are
        points that are nan or infinite.
      path: the PNG file to write.
    """
    parts = [literal(part) for part in parts]
    first, *others = parts
    if others or len(first.task_names) > MAX_TASK_PANELS:
        panels = [_panel_of_mean(part) for part in parts]
    else:
        panels = _panels_of_tasks(first)
    # Single-task models of one group may have no look, and those of another some.
    has_looks = np.any([[len(step) for step in panel.steps] for panel in panels], 0)
    panels = [panel.of(has_looks) for panel in panels]
    drawn = list(itertools.compress(_styled(first), has_looks))
    drawn = _foremost(drawn, panels)
    rows = 2 if len(panels) == 4 else 1
    columns = len(panels) // rows
    figure = Figure(figsize=(2 + 4 * columns, 0.6 + 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for k, (own, panel) in enumerate(zip(axes, panels, strict=True)):
        lines = zip(drawn, panel.steps, panel.values, strict=True)
        for (_, style), step, value in lines:
            _curve(own, step, value, style)
        tidy(own)
        own.set_ylim(_limits(panel.framed))
        own.set_title(panel.title, loc="left", fontsize=10, color=INK)
        if k >= len(panels) - columns:
            own.set_xlabel("step")
        if k % columns == 0 or others:
            own.set_ylabel(f"validation {panel.metric}")
    metric = "metrics" if others else first.metric_names[0]
    what = f"validation {metric}, mean and range over {seed_count(first)}"
    _head_and_legend(figure, f"{first.experiment}: {what}", drawn)
    save(
        figure,
        path,
        f"Validation {metric} against the step, a line a method, shades over its "
        f"seeds, in {len(panels)} panel{'s' * (len(panels) > 1)}.",
    )


class _Panel(NamedTuple):
    """What one panel of :func:`curves` shows.

    Attributes:
      title: above it.
      metric: on its axis.
      higher: whether more of it is better.
      steps: of each row, ``[T]``; none of one without curves.
      values: likewise, ``[S, T]``.
      framed: of them the models that did not diverge, which have to be in view.
    """

    title: str
    metric: str
    higher: bool
    steps: list[np.ndarray]
    values: list[np.ndarray]
    framed: list[np.ndarray]

    def of(self, wanted: np.ndarray) -> "_Panel":
        """The rows that are wanted alone."""
        rows = (list(itertools.compress(own, wanted)) for own in self[3:])
        return _Panel(self.title, self.metric, self.higher, *rows)


def _panels_of_tasks(comparison: Comparison) -> list[_Panel]:
    steps, values, finished = _looks(comparison)
    metric, higher = comparison.metric_names[0], comparison.higher_is_better[0]
    of_tasks = [
        [value[..., k] for value in values] for k in range(len(comparison.task_names))
    ]
    return [
        _Panel(name, metric, higher, steps, own, _framed(own, finished))
        for name, own in zip(comparison.task_names, of_tasks, strict=True)
    ]


def _panel_of_mean(comparison: Comparison) -> _Panel:
    (steps, values, finished), names = _looks(comparison), comparison.task_names
    measured = tasks_measured(values)
    means = [comparison.comparable(v)[..., measured].mean(-1) for v in values]
    known = [name for name, some in zip(names, measured, strict=True) if some]
    title = f"mean of {len(known)} tasks" if len(known) > 1 else known[0]
    metric, higher = comparison.comparable_name, comparison.higher_is_better[0]
    return _Panel(
        ": ".join(filter(None, (comparison.group, title))),
        metric,
        higher,
        steps,
        means,
        _framed(means, finished),
    )


def _looks(
    comparison: Comparison,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The steps ``[T]`` of each row, looks ``[S, T, K]``, and who did not diverge."""
    steps, values, finished = [], [], []
    for result in comparison.results:
        primary = result.metrics[..., 0]
        nothing = np.empty((len(primary), 0, primary.shape[1]))
        steps.append(result.curves.get("step", np.empty(0)))
        values.append(_finite(result.curves.get("validation", nothing)))
        finished.append(~np.isnan(primary).any(axis=1) | (not result.notes))
    return steps, values, finished


def _framed(values: list[np.ndarray], finished: list[np.ndarray]) -> list[np.ndarray]:
    """The models that did not diverge; all where every one did."""
    found = [value[own] for value, own in zip(values, finished, strict=True)]
    return found if any(each.size for each in found) else values


def _plane(comparison: Comparison) -> Figure:
    """Two tasks: one against the other."""
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for result, style in _styled(comparison):
        seeds = _finite(result.metrics[..., 0])
        (x, y), (dx, dy) = metrics.mean_and_spread(seeds, axis=0)
        if result is comparison.baseline:
            axes.axvline(x, **_line(style))
            axes.axhline(y, **_line(style))
            continue
        axes.plot(*seeds.T, **_dots(style))
        axes.errorbar(x, y, xerr=dx, yerr=dy, **_mean(style))
    tidy(axes)
    axes.margins(0.12)
    axes.locator_params(axis="x", nbins=5)  # accuracies have long tick labels
    metric = comparison.metric_names[0]
    first, second = comparison.task_names
    axes.set(xlabel=f"{first}: test {metric}", ylabel=f"{second}: test {metric}")
    _better(axes, comparison.higher_is_better[0], diagonal=True)
    _head_and_legend(figure, title(comparison), _styled(comparison))
    return figure


def _strips(parts: Sequence[Comparison]) -> Figure:
    """Any number of tasks, and of groups of them: one line a method."""
    first, *others = parts
    names = [result.name for result in first.results]
    size = (7.2 + 4 * len(others), 1.2 + 0.42 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    make_room(figure, names)
    for axes, comparison in zip(panels, parts, strict=True):
        _strip(axes, comparison)
        axes.set_title(comparison.group, loc="left", fontsize=10, color=INK)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    head_line = title(first)
    if others:
        head_line = f"{first.experiment}: test metrics, {seed_count(first)}"
    _head_and_legend(figure, head_line, [])
    return figure


def _strip(axes: Axes, comparison: Comparison) -> None:
    """The tasks of one group."""
    styled = _styled(comparison)
    primary = [
        _finite(comparison.comparable(result.metrics[..., 0])) for result, _ in styled
    ]
    measured = tasks_measured(primary)
    for row, ((result, style), seeds) in enumerate(zip(styled, primary, strict=True)):
        tasks, _ = metrics.mean_and_spread(seeds, axis=0)
        mean, spread = metrics.mean_and_spread(seeds[:, measured].mean(1), axis=0)
        # Multiples of the golden ratio: even, and neighbours far apart.
        offsets = (np.arange(len(tasks)) * 0.618 % 1 - 0.5) * 0.5
        axes.plot(tasks, row + offsets, **_dots(style))
        axes.errorbar(mean, row, xerr=spread, **_mean(style))
        if result is comparison.baseline:
            axes.axvline(float(mean), **_line(style))
    tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"test {comparison.comparable_name}, one dot a task")
    _better(axes, comparison.higher_is_better[0], diagonal=False)


def _styled(comparison: Comparison) -> list[tuple[MethodResult, Style]]:
    """Every row with its colour and marker; the same in all pictures."""
    styles = [style_of(i) for i in range(len(comparison.methods))]
    if comparison.baseline is not None:
        styles.insert(0, {"color": SINGLE_TASK, "marker": "", "linestyle": "--"})
    return list(zip(comparison.results, styles, strict=True))


def style_of(i: int) -> Style:
    """The colour and marker of the i-th method."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i // len(COLOURS) % len(LINES)],
    }


def _foremost(
    drawn: list[tuple[MethodResult, Style]], panels: Sequence[_Panel]
) -> list[tuple[MethodResult, Style]]:
    """The same rows, methods that do not end among the best ones in grey."""

    def score(panel: _Panel, value: np.ndarray) -> float:
        last = value[:, -1:]
        sign = 1 if panel.higher else -1
        return -np.inf if np.isnan(last).all() else sign * float(np.nanmean(last))

    # Numbers of tasks of other kinds do not add up; places among the methods do.
    ends = sum(
        np.argsort(np.argsort([score(panel, value) for value in panel.values]))
        for panel in panels
    )
    best = set(np.argsort(ends)[::-1][:MAX_COLOURED].tolist())
    styles = itertools.count()

    def restyled(i: int, style: Style) -> Style:
        if style["color"] == SINGLE_TASK:
            return style
        if i not in best:
            return {"color": OTHERS, "marker": "", "linestyle": "-", "zorder": 1}
        return style_of(next(styles))

    if len(drawn) <= MAX_COLOURED:
        return drawn
    return [(result, restyled(i, style)) for i, (result, style) in enumerate(drawn)]


def _curve(axes: Axes, step: np.ndarray, seeds: np.ndarray, style: Style) -> None:
    """A line of means with its marker at the last point, and a shade over the seeds."""
    if not len(step):
        return
    mean, _ = metrics.mean_and_spread(seeds, axis=0)
    lowest, highest = np.fmin.reduce(seeds), np.fmax.reduce(seeds)
    axes.fill_between(step, lowest, highest, color=style["color"], alpha=0.15, lw=0)
    axes.plot(step, mean, lw=1.6, ms=5, markevery=[len(step) - 1], **style)


def _limits(values: list[np.ndarray]) -> tuple[float, float] | None:
    """The range to show of learning curves, without the first steps that flatten it.

    It reaches 1.5 interquartile ranges beyond the quartiles, as a box plot does, and to
    wherever a curve ends. None, for the default, where nothing can be drawn.
    """
    means = [metrics.mean_and_spread(seeds, axis=0)[0] for seeds in values]
    ends = [mean[~np.isnan(mean)][-1] for mean in means if not np.isnan(mean).all()]
    if not ends:
        return None
    every = np.concatenate([seeds[~np.isnan(seeds)] for seeds in values])
    first, third = np.quantile(every, (0.25, 0.75))
    reach = 1.5 * (third - first)
    low = min(max(every.min(), first - reach), *ends)
    high = max(min(every.max(), third + reach), *ends)
    margin = 0.05 * (high - low) or 0.05
    return float(low - margin), float(high + margin)


def _dots(style: Style) -> Style:
    """Single seeds or tasks: small and pale."""
    return {
        "linestyle": "",
        "marker": "o",
        "ms": 4,
        "mew": 0,
        "alpha": 0.45,
        "color": style["color"],
    }


def _mean(style: Style) -> Style:
    """A mean: large, with error bars."""
    return {
        "marker": style["marker"] or "o",
        "color": style["color"],
        "ms": 9,
        "mec": "white",
        "mew": 1,
        "elinewidth": 1.4,
        "capsize": 0,
        "zorder": 3,
    }


def _line(style: Style) -> Style:
    """The single-task models: a dashed line behind everything."""
    return {"color": style["color"], "linestyle": "--", "lw": 1.2, "zorder": 1}


def _finite(values: np.ndarray) -> np.ndarray:
    """Infinite numbers as nan, which is not drawn."""
    return np.where(np.isfinite(values), values, np.nan)


def make_room(figure: Figure, names: Sequence[str], usual: int = 24) -> None:
    """Widens a figure by what its longest name takes beyond ``usual`` letters."""
    longest = max(map(len, names))
    inches = 0.075 * max(0, longest - usual)
    figure.set_figwidth(figure.get_figwidth() + inches)


def head(figure: Figure, title: str) -> None:
    """The title, to the left."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, color=INK)


def save(figure: Figure, path: str | os.PathLike[str], shows: str) -> None:
    """Writes a figure as a PNG file, cut to what is drawn.

    The file says itself what it is: ``Title`` and ``Description`` are keywords of the
    format.

    Args:
      figure: with a title of :func:`head`, or none.
      path: the file.
      shows: what is to be seen, in a sentence.
    """
    title = figure.get_suptitle().replace(r"\$", "$")
    says = {"Title": title, "Description": shows}
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight", metadata=says)


def tidy(axes: Axes) -> None:
    """Less ink: no box, a pale grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#555555", labelcolor=INK, labelsize=9)


def _better(axes: Axes, higher: bool, *, diagonal: bool) -> None:
    """An arrow above the right end of the axes, towards the better values."""
    tail, tip = ((0.96, 1.02), (0.995, 1.07)) if diagonal else ((0.93, 1.04), (1, 1.04))
    axes.annotate(
        "",
        xy=tip if higher else tail,
        xytext=tail if higher else tip,
        xycoords="axes fraction",
        arrowprops={"arrowstyle": "->", "color": "#777777", "lw": 1.4},
    )
    axes.text(
        tail[0] - 0.01,
        1.045 if diagonal else 1.04,
        "better",
        transform=axes.transAxes,
        ha="right",
        va="center",
        fontsize=9,
        color="#777777",
    )


def _head_and_legend(
    figure: Figure, title: str, entries: list[tuple[MethodResult, Style]]
) -> None:
    """The title and, to the right of the axes, the legend; grey rows share a line."""
    head(figure, title)
    grey = [entry for entry in entries if entry[1]["color"] == OTHERS]
    entries = [entry for entry in entries if entry[1]["color"] != OTHERS]
    if grey:
        others = dataclasses.replace(grey[0][0], name=f"{len(grey)} others")
        entries.append((others, grey[0][1]))
    if entries:
        make_room(figure, [result.name for result, _ in entries])
        handles = [
            Line2D([], [], lw=1.6, label=r.name, **style) for r, style in entries
        ]
        figure.legend(
            handles=handles, loc="outside right center", frameon=False, fontsize=9
        )
