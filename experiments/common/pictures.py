"""A comparison of methods as two pictures: test results, learning curves."""

import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtopt import metrics

from .drawing import (
    INK,
    MAX_COLOURED,
    OTHERS,
    SINGLE_TASK,
    Style,
    better,
    dots,
    finite,
    head_and_legend,
    line,
    make_room,
    mean_marker,
    save,
    style_of,
    styled,
    tidy,
)
from .literal import literal
from .plane import plane
from .results import (
    Comparison,
    MethodResult,
    seed_count,
    tasks_measured,
    title,
)
from .standing import ranked

MAX_TASK_PANELS = 4


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
    parts = ranked([literal(part) for part in parts])
    first, *others = parts
    metric = f"test {first.metric_names[0]}" if not others else "test metrics"
    if len(first.methods) <= MAX_COLOURED and len(first.task_names) == 2 and not others:
        figure = plane(first)
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
    parts = ranked([literal(part) for part in parts])
    first, *others = parts
    if others or len(first.task_names) > MAX_TASK_PANELS:
        panels = [_panel_of_mean(part) for part in parts]
    else:
        panels = _panels_of_tasks(first)
    # Single-task models of one group may have no look, and those of another some.
    has_looks = np.any([[len(step) for step in panel.steps] for panel in panels], 0)
    panels = [panel.of(has_looks) for panel in panels]
    drawn = list(itertools.compress(styled(first), has_looks))
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
    head_and_legend(figure, f"{first.experiment}: {what}", drawn)
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
        values.append(finite(result.curves.get("validation", nothing)))
        finished.append(~np.isnan(primary).any(axis=1) | (not result.notes))
    return steps, values, finished


def _framed(values: list[np.ndarray], finished: list[np.ndarray]) -> list[np.ndarray]:
    """The models that did not diverge; all where every one did."""
    found = [value[own] for value, own in zip(values, finished, strict=True)]
    return found if any(each.size for each in found) else values


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
    head_and_legend(figure, head_line, [])
    return figure


def _strip(axes: Axes, comparison: Comparison) -> None:
    """The tasks of one group."""
    drawn = styled(comparison)
    primary = [
        finite(comparison.comparable(result.metrics[..., 0])) for result, _ in drawn
    ]
    measured = tasks_measured(primary)
    for row, ((result, style), seeds) in enumerate(zip(drawn, primary, strict=True)):
        tasks, _ = metrics.mean_and_spread(seeds, axis=0)
        mean, spread = metrics.mean_and_spread(seeds[:, measured].mean(1), axis=0)
        # Multiples of the golden ratio: even, and neighbours far apart.
        offsets = (np.arange(len(tasks)) * 0.618 % 1 - 0.5) * 0.5
        axes.plot(tasks, row + offsets, **dots(style))
        axes.errorbar(mean, row, xerr=spread, **mean_marker(style))
        if result is comparison.baseline:
            axes.axvline(float(mean), **line(style))
    tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"test {comparison.comparable_name}, one dot a task")
    better(axes, comparison.higher_is_better[0], diagonal=False)


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
