"""Methods over several data sets: what each gains over one of them, set by set."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtopt.errors import UserError
from mtopt.metrics import holm, paired_interval
from mtopt.metrics.paired import Paired

from .paired import find_method
from .results import Comparison, MethodResult

LEVEL = 0.05
WON, LOST = "▲", "▼"
GAIN = "gain, %"


class OverSets(NamedTuple):
    """What methods gain over one of them on every set.

    Attributes:
      reference: the name of that one.
      methods: the names of the others.
      sets: the names of the sets.
      found: of every method and set, the mean gain over seeds, its interval, and the
        p-value with Holm's correction for the methods of the set.
      gains: all methods, the reference among them, with sets in the place of tasks and
        the gain as the metric.
    """

    reference: str
    methods: tuple[str, ...]
    sets: tuple[str, ...]
    found: dict[tuple[str, str], Paired]
    gains: Comparison

    def sign(self, method: str, name: str) -> str:
        """Whether a difference is told from 0: :data:`WON`, :data:`LOST` or nothing."""
        each = self.found[method, name]
        sure = each.p_value < LEVEL
        return (WON if each.mean > 0 else LOST) if sure else ""


def over_sets(sets: Mapping[str, Sequence[Comparison]], reference: str) -> OverSets:
    r"""Compares methods over data sets by relative gains, seed by seed.

    .. math:: g_s = \frac{100}{K} \sum_k \pm \frac{m_{sk} - r_{sk}}{|r_{sk}|}

    with m and r the primary test metric of the method and of the reference on task k of
    K with seed s, signed so that better is above 0. Tasks whose metric is undefined for
    a seed's reference, or 0, have no part in that seed. A seed of a method that is
    undefined where the reference is not is none of the method's.

    Args:
      sets: name to the comparisons there, one a group of tasks; all have the same
        methods and seeds.
      reference: the method that the others are compared with.

    Raises:
      UserError: where sets differ in methods or seeds, or lack the reference.
    """
    first, *others = [_gains(parts, reference) for parts in sets.values()]
    for name, other in zip([*sets][1:], others, strict=True):
        if {*first} != {*other} or {len(v) for v in first.values()} != {
            len(v) for v in other.values()
        }:
            raise UserError(
                f"{name} has other methods or seeds than {next(iter(sets))}: expected "
                "the same of all sets"
            )
    every = [first, *others]
    rows = [
        MethodResult(
            method, np.stack([own[method] for own in every], axis=1)[..., None], {}
        )
        for method in first
    ]
    gains = Comparison(
        f"gain over {reference}", tuple(sets), (GAIN,), (True,), None, rows
    )
    methods = tuple(method for method in first if method != reference)
    found = {}
    for name, own in zip(sets, every, strict=True):
        pairs = [paired_interval(own[m], np.zeros(len(own[m]))) for m in methods]
        p_values = holm([each.p_value for each in pairs]).tolist()
        for method, each, p_value in zip(methods, pairs, p_values, strict=True):
            found[method, name] = each._replace(p_value=p_value)
    return OverSets(reference, methods, tuple(sets), found, gains)


def _gains(parts: Sequence[Comparison], reference: str) -> dict[str, np.ndarray]:
    """The relative gains of all methods over one, one a seed."""
    base = [find_method(part, reference) for part in parts]
    names = [result.name for result in parts[0].results]
    return {name: _gain(parts, base, i) for i, name in enumerate(names)}


def _gain(
    parts: Sequence[Comparison], base: Sequence[MethodResult], row: int
) -> np.ndarray:
    """Those of one row of all groups, mean over the tasks of all."""
    changes, measured = [], []
    for part, other in zip(parts, base, strict=True):
        result = part.results[row]
        same = [result.seeds.index(seed) for seed in other.seeds]
        own, theirs = result.metrics[same, :, 0], other.metrics[..., 0]
        sign = 1 if part.higher_is_better[0] else -1
        measured.append(~np.isnan(theirs) & (theirs != 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            changes.append(100 * sign * (own - theirs) / np.abs(theirs))
    pairs = zip(
        np.concatenate(changes, axis=1), np.concatenate(measured, axis=1), strict=True
    )
    return np.array(
        [own[known].mean() if known.any() else np.nan for own, known in pairs]
    )


def to_csv(found: OverSets) -> str:
    """Every method on every set, a line each: gain, interval, p-value, seeds."""
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow
    write(("set", "method", "gain_percent", "low", "high", "p_value", "seeds"))
    for (method, name), each in found.found.items():
        numbers = (each.mean, each.low, each.high, each.p_value)
        write((name, method, *(repr(float(value)) for value in numbers), each.pairs))
    return file.getvalue().rstrip("\n")
