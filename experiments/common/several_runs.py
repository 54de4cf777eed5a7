"""Several runs of one experiment as one comparison."""

import dataclasses
import itertools
import reprlib
from collections.abc import Sequence

import numpy as np

from mtopt.errors import UserError

from .comparison_sheet import TIME_REFERENCE
from .looks import extended
from .results import Comparison, MethodResult

ALIKE = {
    "experiment": "experiment",
    "group": "group of tasks",
    "task_names": "tasks",
    "metric_names": "metrics",
    "higher_is_better": "directions",
}
"""What runs must have in common, in words."""


def put_together(runs: Sequence[Sequence[Comparison]]) -> list[Comparison]:
    """The methods of all runs beside each other.

    A method that several runs have, with other seeds, has the seeds of all; likewise
    the single-task models. Times of a step are those of the first run that has
    :data:`~experiments.common.comparison_sheet.TIME_REFERENCE`, of the first one where
    none has it: runs on other machines have others.

    Args:
      runs: of each the comparisons, one a group of tasks.

    Raises:
      UserError: where experiments, tasks, units or metrics differ, or two runs have the
        same method with the same seed.
    """
    counts = {len(parts) for parts in runs}
    if len(counts) > 1:
        raise UserError(
            f"the runs have {sorted(counts)} groups of tasks; expected runs of one "
            "experiment on the same data"
        )
    timed = next((i for i, parts in enumerate(runs) if _has_reference(parts[0])), 0)
    return [_together(parts, timed) for parts in zip(*runs, strict=True)]


def _has_reference(part: Comparison) -> bool:
    return any(method.name == TIME_REFERENCE for method in part.methods)


def _together(parts: Sequence[Comparison], timed: int) -> Comparison:
    """One group of tasks."""
    first = parts[0]
    for part in parts[1:]:
        for field, words in ALIKE.items():
            one, other = getattr(first, field), getattr(part, field)
            if one != other:
                raise UserError(
                    f"the runs differ in {words}: {reprlib.repr(one)} and "
                    f"{reprlib.repr(other)}; expected runs of one experiment on the "
                    "same data"
                )
        if not _equal(first.units, part.units):
            raise UserError(
                "the runs differ in the deviations of their targets: expected runs on "
                "the same data"
            )
    methods = _joined([part.methods for part in parts], timed)
    single = _joined([[p.baseline] if p.baseline else [] for p in parts], timed)
    lines = dict.fromkeys(itertools.chain(*(part.protocol for part in parts)))
    return dataclasses.replace(
        first,
        baseline=single[0] if single else None,
        methods=methods,
        protocol=tuple(lines),
    )


def _joined(rows: Sequence[Sequence[MethodResult]], timed: int) -> list[MethodResult]:
    """The rows of all runs, those of one name as one."""
    found: dict[str, MethodResult] = {}
    # Memory is that of all seeds that are trained at once.
    alike = len({len(row.seeds) for own in rows for row in own}) == 1
    for i, own in enumerate(rows):
        for row in own:
            if i != timed:
                row = dataclasses.replace(row, seconds_per_step=float("nan"))
            if i != timed and not alike:
                row = dataclasses.replace(row, step_bytes=float("nan"))
            known = found.get(row.name)
            found[row.name] = row if known is None else _more_seeds(known, row)
    return list(found.values())


def _more_seeds(one: MethodResult, other: MethodResult) -> MethodResult:
    """A method with the seeds of two runs."""
    if twice := set(one.seeds) & set(other.seeds):
        raise UserError(
            f"{one.name!r} was run with seed {min(twice)} in two of the runs; expected "
            "other seeds, or other methods"
        )
    curves, chosen = {}, None
    if one.curves and other.curves:
        steps = max(one.curves["step"], other.curves["step"], key=len)
        for row in (one, other):
            own = row.curves["step"]
            # Runs that ended early have the first looks of those that did not.
            if not np.array_equal(own, steps[: len(own)]):
                raise UserError(
                    f"the runs of {one.name!r} have looks at other steps; expected the "
                    "same steps and eval_every"
                )
        looks = [
            extended(row.curves["validation"], len(steps), row.lost)
            for row in (one, other)
        ]
        curves = {"step": steps, "validation": np.concatenate(looks)}
    if one.chosen_steps is not None and other.chosen_steps is not None:
        chosen = np.concatenate([one.chosen_steps, other.chosen_steps])
    times = [t for t in (one.seconds_per_step, other.seconds_per_step) if t == t]
    return MethodResult(
        one.name,
        np.concatenate([one.metrics, other.metrics]),
        curves,
        (*one.notes, *other.notes),
        (*one.seeds, *other.seeds),
        chosen,
        times[0] if times else float("nan"),
        float(np.fmax(one.step_bytes, other.step_bytes)),
    )


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
