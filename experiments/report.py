"""A comparison of methods as one table and two pictures.

`table` is what a run prints last; `scatter` and `curves` draw the same methods in the
same colours. All three read a `Comparison`: plain arrays, no run folder, no model.
"""

import dataclasses
import math
import os
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt import metrics
from mtopt.errors import UserError

WIDTH = 100  # columns of the terminal
MAX_TASK_COLUMNS = 6
MAX_TASK_PANELS = 4
UNDEFINED = "–"

# Okabe and Ito's palette for colour-blind readers, without its yellow, which is too
# light for lines; black and grey are left to the single-task models.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "<", ">")
LINES = ("-", "-.", ":")  # the second and third time round the colours
SINGLE_TASK = "#555555"
INK = "#222222"

Style = dict[str, Any]  # keyword arguments of matplotlib


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """What one method reached, over all its seeds; nan where it has no number.

    Attributes:
      name: the name in the table and the legends.
      metrics: test metrics ``[seeds, K, M]``; the first of the M is the primary one.
      curves: ``"step"``, ``[T]``, and ``"validation"``, the primary metric on
        validation data, ``[seeds, T, K]``. Empty for a method that has no steps.
    """

    name: str
    metrics: np.ndarray
    curves: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods trained on the same K tasks and measured by the same M metrics.

    Attributes:
      experiment: the name of the experiment, for titles.
      task_names: the K tasks in the order of the arrays.
      metric_names: the M metrics, the primary one first.
      higher_is_better: the direction of each of the M metrics.
      baseline: the single-task runs, one model a task; None if there are none.
      methods: the methods, in the order of the table and of the colours.
    """

    experiment: str
    task_names: tuple[str, ...]
    metric_names: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    baseline: MethodResult | None
    methods: list[MethodResult]

    def __post_init__(self):
        tasks, number = len(self.task_names), len(self.metric_names)
        if len(self.higher_is_better) != number:
            raise UserError(
                f"higher_is_better has {len(self.higher_is_better)} entries for "
                f"{number} metrics; give one bool per metric"
            )
        for result in self.results:
            shape = result.metrics.shape
            if len(shape) != 3 or shape[1:] != (tasks, number) or not shape[0]:
                raise UserError(
                    f"metrics of {result.name!r} have shape {shape}; "
                    f"expected [seeds, {tasks} tasks, {number} metrics]"
                )
            if not result.curves:
                continue
            steps = len(result.curves["step"])
            shape = result.curves["validation"].shape
            if len(shape) != 3 or shape[1:] != (steps, tasks) or not shape[0]:
                raise UserError(
                    f"validation curves of {result.name!r} have shape {shape}; "
                    f"expected [seeds, {steps} steps, {tasks} tasks]"
                )

    @property
    def results(self) -> list[MethodResult]:
        """The rows of the table: the single-task models, then the methods."""
        return [*([self.baseline] if self.baseline else []), *self.methods]


# The table.


def table(comparison: Comparison) -> str:
    """The comparison as text, one row a method, for a terminal of 100 columns.

    Columns: the primary metric of every task (of the mean, the lowest and the highest
    task where there are more than 6), its mean over tasks, and against the single-task
    models the two published relative changes and the mean rank. Columns that do not
    fit side by side follow below, under their own head.

    Args:
      comparison: the results. A seed that is nan is left out of its cell, which a star
        marks; a number that is not defined at all shows as a dash.

    Returns:
      The table and a legend, without a trailing newline.

    Example:
      >>> import numpy as np
      >>> single = MethodResult("single task", np.full((1, 2, 1), 0.8), {})
      >>> ours = MethodResult("ours", np.array([[[0.9], [0.82]]]), {})
      >>> results = Comparison(
      ...     "demo", ("left", "right"), ("accuracy",), (True,), single, [ours]
      ... )
      >>> print(table(results))  # doctest: +ELLIPSIS
      demo: test accuracy (higher is better), 1 seed
      <BLANKLINE>
                    left  right  mean of tasks  Δm% ↓  Δp% ↑  rank ↓
      --------------------------------------------------------------
      single task  0.800  0.800          0.800      –      –       –
      ours         0.900  0.820          0.860  -7.50  +7.50    1.00
      <BLANKLINE>
      Δm%: mean relative change ...
    """
    tasks, mean, starred = _task_columns(comparison)
    names = ["", *(result.name for result in comparison.results)]
    lines = [_title(comparison), ""]
    for columns in _pages(names, tasks, [mean, *_summary_columns(comparison)]):
        lines += [*_align(columns), ""]
    return "\n".join(lines + _legend(comparison, starred))


def _title(comparison: Comparison) -> str:
    """What is shown: experiment, metric, direction, seeds."""
    direction = "higher" if comparison.higher_is_better[0] else "lower"
    metric = f"test {comparison.metric_names[0]} ({direction} is better)"
    seeds = _seeds(comparison)
    spread = "" if seeds == "1 seed" else "mean ± standard deviation over "
    return f"{comparison.experiment}: {metric}, {spread}{seeds}"


def _seeds(comparison: Comparison) -> str:
    """How many seeds the rows have, such as ``3 seeds`` or ``1 to 3 seeds``."""
    numbers = [len(result.metrics) for result in comparison.results]
    bounds = sorted({min(numbers), max(numbers)})
    return " to ".join(map(str, bounds)) + (" seed" if bounds == [1] else " seeds")


def _task_columns(comparison: Comparison) -> tuple[list[list[str]], list[str], bool]:
    """The primary metric: columns of tasks, that of their mean, any lost seed."""
    primary = [result.metrics[..., 0] for result in comparison.results]
    measured = _measured(primary)
    means = [values[:, measured].mean(1) for values in primary]
    if len(comparison.task_names) <= MAX_TASK_COLUMNS:
        tasks = {
            name: [values[:, k] for values in primary]
            for k, name in enumerate(comparison.task_names)
        }
    else:
        seed_means = [metrics.mean_and_spread(v, axis=0)[0] for v in primary]
        seed_means = [values[measured] for values in seed_means]
        tasks = {
            "lowest task": [values.min(keepdims=True) for values in seed_means],
            "highest task": [values.max(keepdims=True) for values in seed_means],
        }
    starred = any(_lost_some(v) for column in [means, *tasks.values()] for v in column)
    columns = [[name, *_cells(values)] for name, values in tasks.items()]
    return columns, ["mean of tasks", *_cells(means)], starred


def _measured(rows: list[np.ndarray]) -> np.ndarray:
    """Which tasks, the last axis, a mean of tasks is over.

    A task that no row has a number for is left out. One that only some rows lack is
    not: their means would not be comparable, and are nan.
    """
    tasks = [~np.isnan(row).all(axis=tuple(range(row.ndim - 1))) for row in rows]
    some = np.any(tasks, axis=0)
    return some if some.any() else ~some


def _lost_some(seeds: np.ndarray) -> bool:
    """Whether some seeds, but not all, are undefined."""
    return bool(np.isnan(seeds).any() and not np.isnan(seeds).all())


def _cells(column: list[np.ndarray]) -> list[str]:
    """Seeds of one metric as ``mean ± spread``, with the same decimals in all rows."""
    pairs = [metrics.mean_and_spread(seeds, axis=0) for seeds in column]
    decimals = _decimals([float(mean) for mean, _ in pairs])
    texts = []
    for seeds, (mean, spread) in zip(column, pairs, strict=True):
        text = _number(float(mean), decimals)
        if len(seeds) > 1 and text != UNDEFINED:
            text += f" ± {_number(float(spread), decimals)}"
        texts.append(text + "*" * _lost_some(seeds))
    if any(text.endswith("*") for text in texts):
        texts = [text if text.endswith("*") else text + " " for text in texts]
    return texts


def _decimals(values: Sequence[float]) -> int:
    """Enough decimals for four digits of a typical value, three below 1 (0.934)."""
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not sizes:
        return 3
    exponent = math.floor(math.log10(float(np.median(sizes))))
    return min(max(3 - exponent if exponent >= 0 else 2 - exponent, 0), 6)


def _number(value: float, decimals: int, sign: str = "") -> str:
    """A fixed-point number; exponents from a million on, a dash for nan."""
    if math.isnan(value):
        return UNDEFINED
    if abs(value) >= 1e6:
        return f"{value:{sign}.1e}"
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"  # + 0.0: no -0.00


def _summary_columns(comparison: Comparison) -> list[list[str]]:
    """The columns that compare with the single-task models and among the methods."""
    rows = [_flat_means(result) for result in comparison.methods]
    tasks, number = len(comparison.task_names), len(comparison.metric_names)
    higher = np.tile(comparison.higher_is_better, tasks)
    task_of_metric = np.repeat(np.arange(tasks), number).tolist()
    ranks = metrics.mean_rank(rows, higher) if rows else []
    rank = ["rank ↓", *(_number(rank, 2) for rank in ranks)]
    if comparison.baseline is None:
        return [rank]
    single = _comparable(comparison.baseline)
    delta_m = [metrics.delta_m_per_metric(row, single, higher) for row in rows]
    delta_p = [
        metrics.delta_p_per_task(row, single, higher, task_of_metric) for row in rows
    ]
    marks = ["†" * _lacks_some(row, single) for row in rows]
    return [
        ["Δm% ↓", UNDEFINED, *_signed(delta_m, marks)],
        ["Δp% ↑", UNDEFINED, *_signed(delta_p, marks)],
        [rank[0], UNDEFINED, *rank[1:]],
    ]


def _signed(deltas: list[float], marks: list[str]) -> list[str]:
    """Changes in percent with their sign, and a mark where metrics were left out."""
    width = max(map(len, marks), default=0)
    return [
        _number(delta, 2, "+") + mark.ljust(width)
        for delta, mark in zip(deltas, marks, strict=True)
    ]


def _lacks_some(row: np.ndarray, single: np.ndarray) -> bool:
    """Whether a method lacks some, not all, of the metrics it is compared by."""
    lacks = np.isnan(row[~np.isnan(single)])
    return bool(lacks.any() and not lacks.all())


def _flat_means(result: MethodResult) -> np.ndarray:
    """The K*M metrics of a method, averaged over its seeds."""
    return metrics.mean_and_spread(result.metrics, axis=0)[0].ravel()


def _comparable(baseline: MethodResult) -> np.ndarray:
    """Its means; nan for one that is 0, which has no relative change."""
    means = _flat_means(baseline)
    return np.where(means == 0, np.nan, means)


def _pages(
    names: list[str], tasks: list[list[str]], summary: list[list[str]]
) -> list[list[list[str]]]:
    """Columns side by side as far as they fit; the summary stays in one piece."""
    pages = [[names]]
    for columns in [*([task] for task in tasks), summary]:
        if len(_align(pages[-1] + columns)[1]) > WIDTH and len(pages[-1]) > 1:
            pages.append([names])
        pages[-1] += columns
    return pages


def _align(columns: list[list[str]]) -> list[str]:
    """Lines of text: names to the left, numbers to the right, a rule under the head."""
    widths = [max(map(len, column)) for column in columns]
    rows = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return [rows[0], "-" * (sum(widths) + 2 * len(widths) - 2), *rows[1:]]


def _legend(comparison: Comparison, starred: bool) -> list[str]:
    """What the columns mean, and what was left out of them."""
    number = len(comparison.task_names) * len(comparison.metric_names)
    over = f"{number} metrics" if number > 1 else "1 metric"
    over += f" ({', '.join(comparison.metric_names)} of each task)"
    rows = [_flat_means(result) for result in comparison.methods]
    entries = []
    if comparison.baseline is not None:
        entries += [
            f"Δm%: mean relative change to single task over {over}, signed so that "
            "worse is above 0; lower is better.",
            "Δp%: mean relative gain over single task, within each task and then over "
            "tasks; higher is better.",
        ]
        single = _comparable(comparison.baseline)
        if left_out := np.isnan(single).sum():
            entries.append(
                f"Of these, {left_out} undefined or 0 for single task: not in Δm%, Δp%."
            )
        if any(_lacks_some(row, single) for row in rows):
            entries.append("†: without the metrics that are undefined for this method.")
    entries.append(f"rank: mean rank among the methods over {over}; 1 is best.")
    if starred:
        entries.append("*: without the seeds that are undefined.")
    if any(np.isnan(row).any() for row in rows):
        entries.append(f"{UNDEFINED}: undefined; ranks last.")
    return [
        line
        for entry in entries
        for line in textwrap.wrap(entry, WIDTH, subsequent_indent="     ")
    ]


# The pictures.


def scatter(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws the primary test metric of every method, against the single-task models.

    Two tasks: one against the other, each seed a dot, the mean a large marker with its
    standard deviation. Any other number: one line a method, each task a dot (its mean
    over seeds), the mean of tasks a large marker with its standard deviation. Dashed
    lines are the means of the single-task models.

    Args:
      comparison: the results; what is nan or infinite is not drawn.
      path: the PNG file to write.
    """
    draw = _plane if len(comparison.task_names) == 2 else _strips
    draw(comparison).savefig(path, format="png", dpi=150, bbox_inches="tight")


def curves(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws the primary validation metric against the training step.

    One panel a task, or a single one with the mean of tasks where there are more than
    4. Lines are means over seeds, shades reach from the lowest to the highest seed.

    Args:
      comparison: the results; methods without curves are left out, as are points that
        are nan or infinite.
      path: the PNG file to write.
    """
    names = [*comparison.task_names]
    drawn = [(r, s) for r, s in _styled(comparison) if r.curves]
    values = [_finite(result.curves["validation"]) for result, _ in drawn]
    if len(names) > MAX_TASK_PANELS:
        names = [f"mean of {len(names)} tasks"]
        values = [v[..., _measured(values)].mean(-1, keepdims=True) for v in values]
    rows = 2 if len(names) == 4 else 1
    columns = len(names) // rows
    figure = Figure(figsize=(2 + 4 * columns, 0.6 + 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for k, (panel, name) in enumerate(zip(panels, names, strict=True)):
        for (result, style), value in zip(drawn, values, strict=True):
            _curve(panel, result.curves["step"], value[..., k], style)
        _tidy(panel)
        panel.set_ylim(_limits([value[..., k] for value in values]))
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        if k >= len(names) - columns:
            panel.set_xlabel("step")
        if k % columns == 0:
            panel.set_ylabel(f"validation {comparison.metric_names[0]}")
    what = f"validation {comparison.metric_names[0]}, mean and range over"
    _head(figure, f"{comparison.experiment}: {what} {_seeds(comparison)}", drawn)
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight")


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
    _tidy(axes)
    axes.margins(0.12)
    metric = comparison.metric_names[0]
    first, second = comparison.task_names
    axes.set(xlabel=f"{first}: test {metric}", ylabel=f"{second}: test {metric}")
    _better(axes, comparison.higher_is_better[0], diagonal=True)
    _head(figure, _title(comparison), _styled(comparison))
    return figure


def _strips(comparison: Comparison) -> Figure:
    """Any number of tasks: one line a method."""
    styled = _styled(comparison)
    primary = [_finite(result.metrics[..., 0]) for result, _ in styled]
    measured = _measured(primary)
    figure = Figure(figsize=(7.2, 1.2 + 0.42 * len(styled)), layout="constrained")
    axes = figure.subplots()
    for row, ((result, style), seeds) in enumerate(zip(styled, primary, strict=True)):
        tasks, _ = metrics.mean_and_spread(seeds, axis=0)
        mean, spread = metrics.mean_and_spread(seeds[:, measured].mean(1), axis=0)
        # Multiples of the golden ratio: even, and neighbours far apart.
        offsets = (np.arange(len(tasks)) * 0.618 % 1 - 0.5) * 0.5
        axes.plot(tasks, row + offsets, **_dots(style))
        axes.errorbar(mean, row, xerr=spread, **_mean(style))
        if result is comparison.baseline:
            axes.axvline(float(mean), **_line(style))
    _tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(styled)), [result.name for result, _ in styled])
    axes.set_ylim(len(styled) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"test {comparison.metric_names[0]}, one dot a task")
    _better(axes, comparison.higher_is_better[0], diagonal=False)
    _head(figure, _title(comparison), [])
    return figure


def _styled(comparison: Comparison) -> list[tuple[MethodResult, Style]]:
    """Every row with its colour and marker; the same in all pictures."""
    styles = [
        {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": LINES[i // len(COLOURS) % len(LINES)],
        }
        for i in range(len(comparison.methods))
    ]
    if comparison.baseline is not None:
        styles.insert(0, {"color": SINGLE_TASK, "marker": "", "linestyle": "--"})
    return list(zip(comparison.results, styles, strict=True))


def _curve(axes: Axes, step: np.ndarray, seeds: np.ndarray, style: Style) -> None:
    """A line of means with its marker at the last point, and a shade over the seeds."""
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


def _tidy(axes: Axes) -> None:
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


def _head(
    figure: Figure, title: str, entries: list[tuple[MethodResult, Style]]
) -> None:
    """The title and, to the right of the axes, the legend."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, color=INK)
    if entries:
        handles = [
            Line2D([], [], lw=1.6, label=r.name, **style) for r, style in entries
        ]
        figure.legend(
            handles=handles, loc="outside right center", frameon=False, fontsize=9
        )
