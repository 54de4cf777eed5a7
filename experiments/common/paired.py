"""Methods against one of them, seed by seed, as a table under that of a comparison."""

import functools
import math
from collections.abc import Callable

import numpy as np

from mtopt.errors import UserError, nearest
from mtopt.metrics import holm
from mtopt.metrics.paired import Paired, paired_interval

from .by_seed import by_seed, in_common
from .comparison_sheet import TIME_REFERENCE
from .looks import best_looks
from .results import Comparison, MethodResult, tasks_measured
from .sheet import UNDEFINED, Block, Cell, Column, Sheet

TUNED_WEIGHTS = "fixed_weighting"
"""With no weights in its name, as in a sweep, that draws them: what any has to beat."""


def paired_sheet(comparison: Comparison, reference: str) -> Sheet:
    """The differences of all other methods to one of them, with 95 % intervals.

    Both differences are those of the primary metric's mean of tasks: at the best look
    at validation data, by which a setting may be chosen, and on the test data of the
    model of that look, which may only be reported. The p-values are of the latter, by
    the paired t-test, with Holm's correction for the number of methods. A seed that
    diverged with one of the two has no part in any of it; a star marks that.

    Args:
      comparison: of several seeds; a seed of all methods has the same data, initial
        parameters and batches.
      reference: the name of the method that the others are compared with.

    Raises:
      UserError: where no method has that name.
    """
    base, others = _apart(comparison, reference)

    def validation(result: MethodResult) -> np.ndarray:
        # What diverges may have had good looks before.
        lost = np.isnan(_test_means(comparison, result))
        return np.where(lost, np.nan, best_looks(comparison, result))

    looks = [_difference(each, base, validation) for each in others]
    tests = [*differences(comparison, reference).values()]
    seeds = [len({*each.seeds} & {*base.seeds}) for each in others]
    columns = [
        Column(head, list(map(_cell, found, seeds)))
        for head, found in (("validation", looks), ("test", tests))
    ]
    p_values = [test.p_value for test in tests]
    if not np.isnan(p_values).all():
        columns.append(Column("p", list(map(Cell, map(_probability, p_values)))))
    better = "above" if comparison.higher_is_better[0] else "below"
    title = (
        f"{comparison.group + ': ' if comparison.group else ''}minus {base.name}, seed "
        f"by seed: {comparison.comparable_name}, mean of tasks [95 % interval], better "
        f"{better} 0"
    )
    names = tuple(" ".join(each.name.split()) for each in others)
    legend = []
    if len(columns) == 3:
        legend.append(
            f"p: of the difference on test data, paired t-test, with Holm's correction "
            f"for {len(others)} method{'s' * (len(others) > 1)}."
        )
    if any(cell.note for column in columns for cell in column.cells):
        legend.append("*: without the seeds that are undefined.")
    pieces = [[columns[0]], columns[1:]]
    return Sheet([Block(title, names, pieces)], legend, {})


def differences(comparison: Comparison, reference: str) -> dict[str, Paired]:
    """How far the other methods are from one of them on test data, by their names.

    Arguments and errors are those of :func:`paired_sheet`, as are what is compared and
    the correction of the p-values.
    """
    base, others = _apart(comparison, reference)
    numbers = functools.partial(_test_means, comparison)
    found = [_difference(each, base, numbers) for each in others]
    p_values = holm([each.p_value for each in found]).tolist()
    return {
        method.name: each._replace(p_value=p_value)
        for method, each, p_value in zip(others, found, p_values, strict=True)
    }


def usual_references(comparison: Comparison) -> list[str]:
    """What methods are compared with where no one says; one seed tells nothing."""
    return [
        method.name
        for method in comparison.methods
        if method.name in (TIME_REFERENCE, TUNED_WEIGHTS)
        and len(method.seeds) > 1
        and len(comparison.methods) > 1
    ]


def find_method(comparison: Comparison, name: str) -> MethodResult:
    """The method of a name.

    Raises:
      UserError: where there is none.
    """
    methods = {method.name: method for method in comparison.methods}
    if name not in methods:
        raise UserError(
            f"no method {name!r} was compared: {nearest(name, tuple(methods))}"
        )
    return methods[name]


def _apart(
    comparison: Comparison, reference: str
) -> tuple[MethodResult, list[MethodResult]]:
    """The method of that name, and the others."""
    base = find_method(comparison, reference)
    return base, [method for method in comparison.methods if method is not base]


def _test_means(comparison: Comparison, result: MethodResult) -> np.ndarray:
    """The primary metric on test data, the mean of tasks of every seed."""
    measured = tasks_measured([row.metrics[..., 0] for row in comparison.methods])
    return comparison.comparable(result.metrics[..., 0])[:, measured].mean(axis=1)


def _difference(
    one: MethodResult,
    base: MethodResult,
    numbers: Callable[[MethodResult], np.ndarray],
) -> Paired:
    """Of their numbers, over the seeds that both have."""
    own, others = (by_seed(each, numbers(each)) for each in (one, base))
    return paired_interval(*in_common(own, others))


def _cell(found: Paired, seeds: int) -> Cell:
    """Mean and interval, with two digits of its half width; a star for lost seeds."""
    decimals = 4
    if found.high > found.low:
        decimals = 1 - math.floor(math.log10((found.high - found.low) / 2))
        decimals = min(max(decimals, 0), 6)
    note = "*" * (0 < found.pairs < seeds)
    return Cell(with_interval(found, decimals), note=note)


def _probability(p_value: float) -> str:
    """Three digits, and no certainty.

    Example:
      >>> [_probability(p) for p in (0.04321, 1e-9, 1.0, math.nan)]
      ['0.043', '<0.001', '1.000', '–']
    """
    if math.isnan(p_value):
        return UNDEFINED
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def with_interval(found: Paired, decimals: int) -> str:
    """The mean, and its interval where there is one: one seed has none.

    Example:
      >>> with_interval(Paired(0.5, 0.25, 0.75, 3, 0.01), 2)
      '+0.50 [+0.25, +0.75]'
    """
    mean, low, high = (f"{v:+.{decimals}f}" for v in found[:3])
    if math.isnan(found.mean):
        return UNDEFINED
    return mean if math.isnan(found.low) else f"{mean} [{low}, {high}]"
