"""What a short run of equal weighting says of its tasks, read from its records."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtopt.metrics import mean_and_spread
from mtopt.training.loop import read_per_model, read_per_task

from ..common.over_time import of_run
from ..common.results import Comparison


@dataclasses.dataclass(frozen=True)
class Findings:
    """Numbers of K tasks, means over seeds and records unless told; nan: unknown.

    Records in which a task has no gradient are left out of its means.

    Attributes:
      tasks: their names.
      steps: that were trained.
      seeds: how many models.
      cosine: of the angle between every two gradients, ``[K, K]``.
      against: that between the gradient of each task and the sum of all others,
        ``[K]``.
      norm: the lengths of the gradients, geometric means, ``[K]``; 0 of a task that
        never has one.
      conflict_share: of all pairs and records, those with a cosine below 0.
      condition: of the Gramian, the median; inf where rounding hides it.
      rank: the number of independent gradients, the median.
      raised: of each task the share of measured steps that raise its loss, to first
        order, ``[K]``.
      first: the training loss of each task in the first record, ``[K]``.
      last: that in the last quarter of the records, ``[K]``.
      alone_first: of a model of each task alone, likewise; nan without one.
      alone_last: likewise.
      score: the best look at validation data, ``[K]``, in the first metric of the task.
      alone_score: that of a model of the task alone.
      higher: whether more of the metric is better, ``[K]``.
      cost: the FLOPs of a step that takes the gradients of all tasks, over those of a
        step of equal weighting.
    """

    tasks: tuple[str, ...]
    steps: int
    seeds: int
    cosine: np.ndarray
    against: np.ndarray
    norm: np.ndarray
    conflict_share: float
    condition: float
    rank: float
    raised: np.ndarray
    first: np.ndarray
    last: np.ndarray
    alone_first: np.ndarray
    alone_last: np.ndarray
    score: np.ndarray
    alone_score: np.ndarray
    higher: np.ndarray
    cost: float = float("nan")


def read_findings(
    folder: pathlib.Path,
    method: str,
    alone: Sequence[str],
    parts: Sequence[Comparison] = (),
    cost: float = float("nan"),
) -> Findings:
    """The findings of a run that has ended.

    Args:
      folder: of the run.
      method: the text of the method that was diagnosed.
      alone: the texts of the single-task models, one a group of tasks; may be none.
      parts: the results, a comparison a group, for the scores; may be none.
      cost: see :class:`Findings`.
    """

    def of_tasks(number: str) -> Any:
        return of_run(folder, method, number, read_per_task)

    def of_models(number: str) -> np.ndarray:
        read: Any = of_run(folder, method, number, read_per_model)
        return read.values

    losses = of_tasks("loss")
    first, last = _ends(losses.values)
    found = {
        task: ends
        for text in alone
        if (history := of_run(folder, text, "loss", read_per_task)) is not None
        for task, *ends in zip(history.tasks, *_ends(history.values), strict=True)
    }
    by_alone = np.array([found.get(t, (np.nan, np.nan)) for t in losses.tasks])
    condition = of_models("condition")
    norm, cosine = of_tasks("norm").values, of_tasks("cosine").values
    there = norm > 0
    both = there[..., :, None] & there[..., None, :]
    against = against_others(norm, cosine)
    raised = (of_tasks("descent").values < 0).astype(float)
    scores = _scores(parts)
    by_score = np.array([scores.get(t, (np.nan, np.nan, 1)) for t in losses.tasks])
    return Findings(
        tasks=losses.tasks,
        steps=int(losses.step[-1]),
        seeds=len(losses.values),
        cosine=_mean_where(both, cosine),
        against=_mean_where(there, against),
        norm=np.exp(_mean_where(there, np.log(np.where(there, norm, 1)), -np.inf)),
        conflict_share=float(np.nanmean(of_models("conflict_share"))),
        # Infinity has no number in the records.
        condition=float(np.median(np.where(np.isnan(condition), np.inf, condition))),
        rank=float(np.nanmedian(of_models("rank"))),
        raised=_mean_where(there, raised),
        first=first,
        last=last,
        alone_first=by_alone[:, 0],
        alone_last=by_alone[:, 1],
        score=by_score[:, 0],
        alone_score=by_score[:, 1],
        higher=by_score[:, 2] > 0,
        cost=cost,
    )


def against_others(norm: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """The cosine of every task's gradient with the sum of all others.

    Args:
      norm: the lengths of the gradients, ``[..., K]``.
      cosine: between them, ``[..., K, K]``.

    Returns:
      ``[..., K]``; 0 where either is 0.

    Example:
      >>> opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
      >>> against_others(np.array([1.0, 5.0]), opposed).tolist()
      [-1.0, -1.0]
    """
    gramian = norm[..., :, None] * cosine * norm[..., None, :]
    own = np.diagonal(gramian, axis1=-2, axis2=-1)
    with_all = gramian.sum(axis=-1)
    # |s - g_k|^2 with s the sum of all; rounding may leave it below 0.
    of_others = with_all.sum(axis=-1, keepdims=True) - 2 * with_all + own
    lengths = np.sqrt(np.maximum(own, 0) * np.maximum(of_others, 0))
    there = lengths > 1e-6 * own
    return np.where(there, (with_all - own) / np.where(there, lengths, 1), 0)


def _mean_where(there: np.ndarray, values: np.ndarray, nothing: float = 0) -> Any:
    """The mean over seeds and records of those that are there, else ``nothing``."""
    known = np.where(there, values, np.nan).reshape(-1, *values.shape[2:])
    mean = mean_and_spread(known, axis=0)[0]
    return np.where(np.isnan(mean), nothing, mean)


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of ``[S, T, K]``, and the mean of the last quarter, each ``[K]``."""
    tasks, quarter = values.shape[2], -(-values.shape[1] // 4)
    ends = values[:, :1], values[:, -quarter:]
    first, last = (mean_and_spread(own.reshape(-1, tasks), axis=0)[0] for own in ends)
    return first, last


def _scores(parts: Sequence[Comparison]) -> Mapping[str, tuple[float, float, float]]:
    """Task to its best look with the method, and alone, and the sign of the metric."""
    found = {}
    for part in parts:
        higher = part.higher_is_better[0]
        rows = [part.methods[0], *([part.baseline] if part.baseline else [])]
        best = [_best(row.curves.get("validation"), higher) for row in rows]
        for k, task in enumerate(part.task_names):
            own = [np.nan if each is None else float(each[k]) for each in best]
            alone = own[1] if len(own) > 1 else np.nan
            found[task] = (own[0], alone, 1.0 if higher else -1.0)
    return found


def _best(looks: np.ndarray | None, higher: bool) -> np.ndarray | None:
    """The best of looks ``[S, T, K]``, the mean over seeds."""
    if looks is None or not looks.size:
        return None
    pick = np.fmax if higher else np.fmin
    return mean_and_spread(pick.reduce(looks, axis=1), axis=0)[0]
