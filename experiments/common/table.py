"""A comparison of methods as the table that a run prints last."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np

from mtopt import metrics

from .results import (
    Comparison,
    MethodResult,
    tasks_measured,
    title,
)

WIDTH = 100  # columns of the terminal
MAX_TASK_COLUMNS = 6
UNDEFINED = "–"
LEAST_SCORE = 0.05
"""Of the single-task models, for a relative change to be counted."""


def table(*comparisons: Comparison) -> str:
    """The comparison as text, one row a method, for a terminal of 100 columns.

    Columns: the primary metric of every task (of the mean, the lowest and the highest
    task where there are more than 6), its mean over tasks, and against the single-task
    models the two published relative changes and the mean rank. Columns that do not
    fit side by side follow below, under their own head.

    Tasks of several kinds have other metrics, and columns of their own under their own
    head; the relative changes and the rank are over the metrics of all.

    Args:
      *comparisons: the results, on each group of tasks. A seed that is nan is left out
        of its cell, which a star marks; a number that is not defined at all shows as a
        dash.

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
    names = ["", *(result.name for result in comparisons[0].results)]
    summary = _summary_columns(comparisons)
    together = len(comparisons) == 1
    lines, any_starred = [], False
    for part in comparisons:
        tasks, mean, starred = _task_columns(part)
        any_starred |= starred
        lines += [title(part), ""]
        for columns in pages(names, tasks, [mean, *(summary if together else [])]):
            lines += [*align(columns), ""]
    if not together:
        lines += ["all groups", "", *align([names, *summary]), ""]
    return "\n".join(lines + _legend(comparisons, any_starred))


def _task_columns(comparison: Comparison) -> tuple[list[list[str]], list[str], bool]:
    """The primary metric: columns of tasks, that of their mean, any lost seed."""
    primary = [result.metrics[..., 0] for result in comparison.results]
    alike = [comparison.comparable(values) for values in primary]
    measured = tasks_measured(primary)
    means = [values[:, measured].mean(1) for values in alike]
    if len(comparison.task_names) <= MAX_TASK_COLUMNS:
        tasks = {
            name: [values[:, k] for values in primary]
            for k, name in enumerate(comparison.task_names)
        }
    else:
        seed_means = [metrics.mean_and_spread(v, axis=0)[0] for v in alike]
        seed_means = [values[measured] for values in seed_means]
        tasks = {
            "lowest task": [values.min(keepdims=True) for values in seed_means],
            "highest task": [values.max(keepdims=True) for values in seed_means],
        }
    starred = any(_lost_some(v) for column in [means, *tasks.values()] for v in column)
    columns = [[name, *cells(values)] for name, values in tasks.items()]
    return columns, ["mean of tasks", *cells(means)], starred


def _lost_some(seeds: np.ndarray) -> bool:
    """Whether some seeds, but not all, are undefined."""
    return bool(np.isnan(seeds).any() and not np.isnan(seeds).all())


def cells(column: list[np.ndarray], decimals: int | None = None) -> list[str]:
    """Seeds of one metric as ``mean ± spread``, with the same decimals in all rows."""
    pairs = [metrics.mean_and_spread(seeds, axis=0) for seeds in column]
    if decimals is None:
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


def _summary_columns(parts: Sequence[Comparison]) -> list[list[str]]:
    """The columns that compare with the single-task models and among the methods."""
    rows = _rows(parts)
    higher = np.concatenate(
        [np.tile(part.higher_is_better, len(part.task_names)) for part in parts]
    )
    metrics_of_task = [
        len(part.metric_names) for part in parts for _ in part.task_names
    ]
    tasks = np.arange(len(metrics_of_task))
    task_of_metric = np.repeat(tasks, metrics_of_task).tolist()
    ranks = metrics.mean_rank(rows, higher) if rows else []
    rank = ["rank ↓", *(_number(rank, 2) for rank in ranks)]
    single = _single(parts)
    if single is None:
        return [rank]
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


def _rows(parts: Sequence[Comparison]) -> list[np.ndarray]:
    """All metrics of all tasks of each method, averaged over its seeds."""
    of_parts = [map(_flat_means, part.methods) for part in parts]
    return [np.concatenate(own) for own in zip(*of_parts, strict=True)]


def _single(parts: Sequence[Comparison]) -> np.ndarray | None:
    """Those of the single-task models."""
    found = [
        _comparable(part.baseline, part.higher_is_better)
        for part in parts
        if part.baseline is not None
    ]
    return np.concatenate(found) if found else None


def _flat_means(result: MethodResult) -> np.ndarray:
    """The K*M metrics of a method, averaged over its seeds."""
    return metrics.mean_and_spread(result.metrics, axis=0)[0].ravel()


def _comparable(baseline: MethodResult, higher: tuple[bool, ...]) -> np.ndarray:
    """Its means; nan for one whose relative change says nothing.

    That is a score, whose best is 1, of :data:`LEAST_SCORE` or less, such as the R2 of
    a task that was not learned, which is often below 0. Errors have no unit of their
    own: of them it is 0 alone.
    """
    means = _flat_means(baseline)
    least = np.tile(np.where(higher, LEAST_SCORE, 0), baseline.metrics.shape[1])
    return np.where(means <= least, np.nan, means)


def pages(
    names: list[str], tasks: list[list[str]], summary: list[list[str]]
) -> list[list[list[str]]]:
    """Columns side by side as far as they fit; the summary stays in one piece."""
    found = [[names]]
    for columns in [*([task] for task in tasks), summary]:
        if len(align(found[-1] + columns)[1]) > WIDTH and len(found[-1]) > 1:
            found.append([names])
        found[-1] += columns
    return found


def align(columns: list[list[str]]) -> list[str]:
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


def _legend(parts: Sequence[Comparison], starred: bool) -> list[str]:
    """What the columns mean, and what was left out of them."""
    number = sum(len(part.task_names) * len(part.metric_names) for part in parts)
    over = f"{number} metrics" if number > 1 else "1 metric"
    each = " / ".join(dict.fromkeys(", ".join(part.metric_names) for part in parts))
    over += f" ({each} of each task)"
    rows, single = _rows(parts), _single(parts)
    entries = []
    if single is not None:
        entries += [
            f"Δm%: mean relative change to single task over {over}, signed so that "
            "worse is above 0; lower is better.",
            "Δp%: mean relative gain over single task, within each task and then over "
            "tasks; higher is better.",
        ]
        if left_out := np.isnan(single).sum():
            entries.append(
                f"Of these, {left_out} undefined for single task, 0, or a score of "
                f"{LEAST_SCORE} or less: not in Δm%, Δp%."
            )
        if any(_lacks_some(row, single) for row in rows):
            entries.append("†: without the metrics that are undefined for this method.")
    for part in parts:
        if part.units is None:
            continue
        which = "mean of tasks"
        if len(part.task_names) > MAX_TASK_COLUMNS:
            which = "lowest, highest task, mean of tasks"
        words = (
            f"{which}: {part.metric_names[0]} in units of the standard deviation of "
            "each task's targets."
        )
        if words not in entries:
            entries.append(words)
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
