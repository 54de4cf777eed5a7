"""Rows that papers and libraries have of a benchmark, under those of a run.

A file ``experiments/published/NAME.csv`` is of the benchmark ``NAME``: a row a method
and a source, a column a metric of a task, ``TASK.METRIC``, as published; a head that
ends in ``%`` says that they are per cent. The first row may be that of the single-task
models which the published relative changes are to. Where a source has nothing but such
a change, it stands under ``delta_m``. ``sources.csv`` says what each source is.
"""

import csv
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtopt import metrics

from .results import Comparison, MethodResult
from .sheet import Block, Cell, Column, number, sensible_decimals

FOLDER = pathlib.Path(__file__).parent.parent / "published"
SINGLE_TASK = "single task"
DELTA_M = "delta_m"
CAUTION = (
    "Published rows are of other code. Between two implementations of one protocol the "
    "same method differs by 3 to 4 points of Δm%, more than most methods differ: rows "
    "of one source can be compared, others can not."
)


class Row(NamedTuple):
    """One published result.

    Attributes:
      method: by the name it has in mtopt, where it has one.
      source: a key of :func:`sources`.
      values: of the columns, in the metrics' own units; nan where nothing is published.
      delta_m: as the source has it, in per cent; nan where it has none.
    """

    method: str
    source: str
    values: tuple[float, ...]
    delta_m: float


class Published(NamedTuple):
    """What is published of a benchmark.

    Attributes:
      columns: the metrics, ``TASK.METRIC``.
      rows: the methods.
      single: what relative changes are to; None where nothing is published.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    single: Row | None


@functools.cache
def published(benchmark: str) -> Published | None:
    """What is published of a benchmark; None where there is no file of it.

    Args:
      benchmark: its name, that of its experiment.

    Example:
      >>> found = published("cityscapes")
      >>> found.columns[:2], found.rows[0].method, found.rows[0].values[0]
      (('segmentation.miou', 'segmentation.pixel_accuracy'), 'equal_weighting', 0.7518)
    """
    path = FOLDER / f"{benchmark}.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        heads = [
            head
            for head in reader.fieldnames or ()
            if head not in ("method", "source", DELTA_M)
        ]
        rows = tuple(_row(cells, heads) for cells in reader)
    columns = tuple(head.removesuffix("%").strip() for head in heads)
    single = rows[0] if rows[0].method == SINGLE_TASK else None
    return Published(columns, rows if single is None else rows[1:], single)


@functools.cache
def sources() -> dict[str, str]:
    """What each source is: title, year, where it is found."""
    with (FOLDER / "sources.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["source"]: f"{row['title']}, {row['year']}, {row['reference']}"
            for row in csv.DictReader(file)
        }


def published_block(parts: Sequence[Comparison]) -> Block | None:
    """The rows of a run and, under them, those that are published, in one block.

    Args:
      parts: the comparison, on each group of tasks; of other experiments than those
        that something is published of there is no block.
    """
    first, *_ = parts
    found = published(first.experiment)
    higher = _directions(parts)
    if found is None or not {*found.columns} <= higher.keys():
        return None
    own = zip(*(part.results for part in parts), strict=True)
    names, values = [], []
    for results in own:
        names.append(f"{results[0].name} (this run)")
        values.append(_values(parts, results, found.columns))
    names += [f"{row.method} ({row.source})" for row in _shown(found)]
    values += [np.array(row.values) for row in _shown(found)]
    directions = np.array([higher[name] for name in found.columns], bool)
    columns = [
        _column(_head(name, found.columns), [row[i] for row in values])
        for i, name in enumerate(found.columns)
        if any(not math.isnan(row.values[i]) for row in found.rows)
    ]
    changes = [_delta_m(row, found, directions) for row in values]
    behind = [row.delta_m for row in _shown(found)]
    quoted = [math.nan] * (len(values) - len(behind)) + behind
    of_both = [
        quote if math.isnan(change) else change
        for change, quote in zip(changes, quoted, strict=True)
    ]
    cells = [Cell(number(change, 2, "+")) for change in of_both]
    columns.append(Column("Δm% ↓", cells))
    pieces = [[column] for column in columns]
    return Block(f"{first.experiment}: published rows", tuple(names), pieces)


def published_legend(parts: Sequence[Comparison]) -> list[str]:
    """What the block means: what changes are to, the sources, and how far to trust."""
    found = published(parts[0].experiment)
    if found is None or published_block(parts) is None:
        return []
    named = dict.fromkeys(row.source for row in _shown(found))
    entries = []
    if found.single is not None:
        entries.append(
            "Δm% of published rows: to the single-task models of "
            f"{found.single.source}, of this run's too; as quoted where a row has "
            "nothing else."
        )
    entries += [f"{name}: {sources()[name]}." for name in named]
    return [*entries, CAUTION]


def _row(cells: dict[str, str], heads: Sequence[str]) -> Row:
    values = tuple(
        float(cells[head] or "nan") / (100 if head.endswith("%") else 1)
        for head in heads
    )
    quoted = float(cells.get(DELTA_M) or "nan")
    return Row(cells["method"], cells["source"], values, quoted)


def _shown(found: Published) -> tuple[Row, ...]:
    """The rows as the block has them, single-task models first."""
    return found.rows if found.single is None else (found.single, *found.rows)


def _directions(parts: Sequence[Comparison]) -> dict[str, bool]:
    """``TASK.METRIC`` to whether higher is better."""
    return {
        f"{task}.{metric}": higher
        for part in parts
        for task in part.task_names
        for metric, higher in zip(part.metric_names, part.higher_is_better, strict=True)
    }


def _values(
    parts: Sequence[Comparison],
    results: Sequence[MethodResult],
    columns: Sequence[str],
) -> np.ndarray:
    """The means over seeds of a method, by the published columns."""
    means = {}
    for part, result in zip(parts, results, strict=True):
        mean = metrics.mean_and_spread(result.metrics, axis=0)[0]
        for task, row in zip(part.task_names, mean, strict=True):
            for metric, value in zip(part.metric_names, row, strict=True):
                means[f"{task}.{metric}"] = float(value)
    return np.array([means[name] for name in columns])


def _delta_m(values: np.ndarray, found: Published, higher: np.ndarray) -> float:
    """To the published single-task models; nan for a row without some metric."""
    if found.single is None or np.isnan(values).any():
        return math.nan
    single = np.array(found.single.values)
    return metrics.delta_m_per_metric(values, single, higher)


def _head(name: str, columns: Sequence[str]) -> str:
    """The metric, or the task where all columns are of one metric."""
    task, _, metric = name.partition(".")
    alike = {each.partition(".")[2] for each in columns}
    return task if len(alike) == 1 else metric


def _column(head: str, values: Sequence[float]) -> Column:
    decimals = sensible_decimals(values) + 1
    return Column(head, [Cell(number(value, decimals)) for value in values])
