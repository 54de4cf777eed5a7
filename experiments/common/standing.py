"""How methods stand among each other: all metrics of all tasks in one row each."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtopt import metrics

from .results import Comparison, MethodResult

LEAST_SCORE = 0.05
"""Of the single-task models, for a relative change to be counted."""


class Standing(NamedTuple):
    """What ranks and relative changes are made of.

    Attributes:
      seeds: the M metrics of every method and seed, ``[S, M]`` a method.
      rows: their means over seeds, ``[methods, M]``.
      single: those of the single-task models; nan for one whose relative change says
        nothing; None where there are no such models.
      higher: the direction of each.
      task_of_metric: the number of the task that each belongs to.
    """

    seeds: list[np.ndarray]
    rows: np.ndarray
    single: np.ndarray | None
    higher: np.ndarray
    task_of_metric: list[int]

    @classmethod
    def of(cls, parts: Sequence[Comparison]) -> "Standing":
        """That of the methods of a comparison, over all of its groups of tasks."""
        of_parts = [map(_flat, part.methods) for part in parts]
        seeds = [np.concatenate(own, axis=1) for own in zip(*of_parts, strict=True)]
        higher = [
            np.tile(part.higher_is_better, len(part.task_names)) for part in parts
        ]
        counts = [len(part.metric_names) for part in parts for _ in part.task_names]
        baselines = [
            _comparable(part.baseline, part.higher_is_better)
            for part in parts
            if part.baseline is not None
        ]
        return cls(
            seeds,
            np.array([_means(own) for own in seeds]),
            np.concatenate(baselines) if baselines else None,
            np.concatenate(higher),
            np.repeat(np.arange(len(counts)), counts).tolist(),
        )

    @property
    def ranks(self) -> np.ndarray:
        """The mean rank of every method, from 1."""
        if not len(self.rows):
            return np.empty(0)
        return metrics.mean_rank(self.rows, self.higher)

    def delta_m(self, row: np.ndarray) -> float:
        """The relative change of a row, metric by metric; below 0 is better."""
        return metrics.delta_m_per_metric(row, self.baselines, self.higher)

    def delta_p(self, row: np.ndarray) -> float:
        """The relative gain of a row, task by task; above 0 is better."""
        of_metrics = row, self.baselines, self.higher, self.task_of_metric
        return metrics.delta_p_per_task(*of_metrics)

    @property
    def baselines(self) -> np.ndarray:
        """Those of the single-task models, undefined where there are none."""
        if self.single is None:
            return np.full(len(self.higher), np.nan)
        return self.single


def ranked(parts: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with the methods in the order of their mean rank.

    Args:
      parts: one a group of tasks, of the same methods.
    """
    order = np.argsort(Standing.of(parts).ranks, kind="stable").tolist()
    return [
        dataclasses.replace(part, methods=[part.methods[i] for i in order])
        for part in parts
    ]


def _flat(result: MethodResult) -> np.ndarray:
    """The K*M metrics of a method, ``[S, K*M]``."""
    return result.metrics.reshape(len(result.metrics), -1)


def _means(seeds: np.ndarray) -> np.ndarray:
    return metrics.mean_and_spread(seeds, axis=0)[0]


def _comparable(baseline: MethodResult, higher: tuple[bool, ...]) -> np.ndarray:
    """Its means; nan for one whose relative change says nothing.

    That is a score, whose best is 1, of :data:`LEAST_SCORE` or less, such as the R2 of
    a task that was not learned, which is often below 0. Errors have no unit of their
    own: of them it is 0 alone.
    """
    means = _means(_flat(baseline))
    least = np.tile(np.where(higher, LEAST_SCORE, 0), baseline.metrics.shape[1])
    return np.where(means <= least, np.nan, means)
