"""What the looks at validation data say of a method, beside the chosen model."""

import numpy as np

from .results import Comparison, MethodResult, tasks_measured

LISTED = 6
"""The most tasks, or seeds, that a line names."""

FALL = 0.05
"""The fall below an earlier look that a report mentions: five points, or 5 %."""


def extended(looks: np.ndarray, count: int, lost: np.ndarray) -> np.ndarray:
    """Looks of models that stopped before others did, as if they had gone on.

    One that ran out of patience stays as it was; one that is lost has no numbers.

    Args:
      looks: ``[seeds, T, K]``.
      count: of the looks that others have, at least T.
      lost: which seeds have no numbers, ``[seeds]``.

    Example:
      >>> extended(np.array([[[0.5]], [[0.2]]]), 3, np.array([False, True]))[..., 0]
      array([[0.5, 0.5, 0.5],
             [0.2, nan, nan]])
    """
    seeds, before, tasks = looks.shape
    last = looks[:, -1:] if before else np.full((seeds, 1, tasks), np.nan)
    last = np.where(lost[:, None, None], np.nan, last)
    return np.concatenate([looks, np.repeat(last, count - before, axis=1)], axis=1)


def scores(comparison: Comparison, result: MethodResult) -> np.ndarray:
    """The mean of tasks at every look, ``[seeds, T]``.

    Models are chosen by it unless something else is named.
    """
    looks = comparison.comparable(result.curves["validation"])
    return looks[..., tasks_measured([looks])].mean(axis=-1)


def best_looks(comparison: Comparison, result: MethodResult) -> np.ndarray:
    """The best of them, one a seed; nan where there is none."""
    if not result.curves:
        return np.full(len(result.metrics), np.nan)
    best = np.fmax.reduce if comparison.higher_is_better[0] else np.fmin.reduce
    return best(scores(comparison, result), axis=1)


def last_looks(comparison: Comparison, result: MethodResult) -> np.ndarray:
    """How far the last look was from the best one, one number a seed.

    Of a score in points, at most 0; of an error in percent of the best one, at least 0.
    nan for a seed that ended without a number, or had no look at all.
    """
    if not result.curves:
        return np.full(len(result.metrics), np.nan)
    last, best = scores(comparison, result)[:, -1], best_looks(comparison, result)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = last - best if comparison.higher_is_better[0] else last / best - 1
    change = np.where(last == best, 0, 100 * change)
    return np.where(np.isfinite(change), change, np.nan)


def late_falls(comparison: Comparison) -> list[str]:
    """The lines of :func:`falls`, or one that says that no method fell.

    Args:
      comparison: whose methods may have curves; without any there is no line.
    """
    lines = falls(comparison)
    if lines or not any(result.curves for result in comparison.methods):
        return lines
    unit = "points" if comparison.higher_is_better[0] else "%"
    return [
        f"No method fell more than 5 {unit} behind an earlier look at validation data."
    ]


def falls(comparison: Comparison) -> list[str]:
    """A line for every method that fell far below what it had reached.

    The table has the model of the best look, and hides what became of it. A score, such
    as an accuracy, has fallen far where it lost five points; an error, which may have
    any unit, where it grew by 5 %. The single-task models are chosen task by task, and
    have no common look.

    Args:
      comparison: whose methods may have curves; without any there is no line.
    """
    looked = [result for result in comparison.methods if result.curves]
    return [line for result in looked if (line := _fall(comparison, result))]


def undefined(comparison: Comparison) -> list[str]:
    """A line on tasks without a metric on validation data, or none.

    Args:
      comparison: whose methods may have curves; without any there is no line. Those
        that diverged say nothing of the labels.
    """
    looks = [
        result.curves["validation"]
        for result in comparison.results
        if result.curves and not result.notes
    ]
    if not looks:
        return []
    never = np.all([np.isnan(each).all(axis=(0, 1)) for each in looks], axis=0)
    tasks = [n for n, bad in zip(comparison.task_names, never, strict=True) if bad]
    if not tasks:
        return []
    named = ", ".join(tasks[:LISTED])
    if len(tasks) > LISTED:
        named += f" and {len(tasks) - LISTED} more"
    return [
        f"{comparison.metric_names[0]} is undefined on the validation data of {named}: "
        "in its place the loss has a part in choosing models; a task without a label "
        "there has none."
    ]


def _fall(comparison: Comparison, result: MethodResult) -> str:
    """The line of one method; empty where it never fell far."""
    cost = scores(comparison, result)
    relative = not comparison.higher_is_better[0]
    cost = np.where(np.isnan(cost), np.inf, cost if relative else -cost)
    best = np.minimum.accumulate(cost, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # inf - inf: nothing to lose
        size = (cost - best) / (best if relative else 1)
    far = size > FALL
    if not far.any():
        return ""
    numbers = size[far & np.isfinite(size)]
    most = [f"by {100 * numbers.max():.1f} at most"] if len(numbers) else []
    lost = far.sum() - len(numbers)
    most += [f"{lost} of them without a number"] if lost else []
    return (
        f"{result.name}: {far.sum()} of {far.size} looks at validation data were more "
        f"than 5 {'%' if relative else 'points'} behind an earlier one of their seed, "
        f"{', '.join(most)}; "
        f"{far[:, -1].sum()} of {len(far)} seeds ended so"
    )
