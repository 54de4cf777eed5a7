"""Methods against one of them, seed by seed, as a table under that of a comparison."""

import math
import textwrap

import numpy as np

from mtopt.metrics.paired import Paired, paired_interval

from .looks import best_looks
from .results import Comparison, MethodResult, tasks_measured
from .table import UNDEFINED, WIDTH, align, pages


def paired_table(comparison: Comparison, reference: int) -> str:
    """The difference of every later method to one of them, with its 95 % interval.

    Both columns are the primary metric's mean of tasks: at the best look at validation
    data, by which a setting may be chosen, and on the test data of the model of that
    look, which may only be reported. A seed that diverged with one of the two has no
    part in either column; a star marks that.

    Args:
      comparison: of several seeds; seed s of all methods has the same data, initial
        parameters and batches.
      reference: the index of the method that those after it are compared with.

    Returns:
      The table, without a trailing newline.
    """
    measured = tasks_measured([row.metrics[..., 0] for row in comparison.methods])

    def columns(result: MethodResult) -> tuple[np.ndarray, np.ndarray]:
        test = comparison.comparable(result.metrics[..., 0])[:, measured].mean(axis=1)
        # What diverges may have had good looks before.
        looks = np.where(np.isnan(test), np.nan, best_looks(comparison, result))
        return looks, test

    base, *others = comparison.methods[reference:]
    cells = [
        [_cell(x, y) for x, y in zip(row, columns(base), strict=True)]
        for row in map(columns, others)
    ]
    better = "above" if comparison.higher_is_better[0] else "below"
    head = (
        f"minus {base.name}, seed by seed: {comparison.comparable_name}, mean of tasks "
        f"[95 % interval], better {better} 0"
    )
    names = ["", *(row.name for row in others)]
    lines = [*textwrap.wrap(head, WIDTH, subsequent_indent="  "), ""]
    validation, test = zip(*cells, strict=True)
    first, last = ["validation", *validation], ["test", *test]
    for page in pages(names, [first], [last]):
        lines += [*align(page), ""]
    if any("*" in cell for row in cells for cell in row):
        lines += ["*: without the seeds that are undefined.", ""]
    return "\n".join(lines[:-1])


def _cell(values: np.ndarray, others: np.ndarray) -> str:
    """Mean and interval, with two digits of its half width; a star for lost seeds."""
    found = paired_interval(values, others)
    decimals = 4
    if found.high > found.low:
        decimals = 1 - math.floor(math.log10((found.high - found.low) / 2))
        decimals = min(max(decimals, 0), 6)
    return with_interval(found, decimals) + "*" * (0 < found.pairs < len(values))


def with_interval(found: Paired, decimals: int) -> str:
    """The mean, and its interval where there is one: one seed has none.

    Example:
      >>> with_interval(Paired(0.5, 0.25, 0.75, 3), 2)
      '+0.50 [+0.25, +0.75]'
    """
    mean, low, high = (f"{v:+.{decimals}f}" for v in found[:3])
    if math.isnan(found.mean):
        return UNDEFINED
    return mean if math.isnan(found.low) else f"{mean} [{low}, {high}]"
