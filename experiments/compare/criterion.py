"""What a trial is chosen by, on validation data."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError, nearest
from mtopt.metrics import METRICS
from mtopt.training.evaluate import metric_tasks, primary_metrics

from .unit import Outcome


class Criterion(NamedTuple):
    """A number for every trial.

    Attributes:
      words: what it is.
      higher_is_better: its direction.
      value: of a unit, the mean over its seeds; NaN where one of them has none.
    """

    words: str
    higher_is_better: bool
    value: Callable[[Outcome], float]

    def best(self, outcomes: Sequence[Outcome]) -> int:
        """The best trial; of equal ones the first, of none with a number the first."""
        values = np.array([self.value(outcome) for outcome in outcomes])
        cost = -values if self.higher_is_better else values
        return int(np.argmin(np.where(np.isnan(cost), np.inf, cost)))


def criterion(by: str, dataset: Dataset | JointDataset) -> Criterion:
    """What a name stands for.

    Args:
      by: a task, whose first metric counts; a metric, of which the mean over the tasks
        that have it counts, errors in units of the deviation of each task's targets;
        or nothing: the score by which the models are chosen.
      dataset: what was trained on.

    Raises:
      UserError: for another name.
    """
    if not by:
        return Criterion("the score that models are chosen by", True, _score)
    if by in dataset.tasks:
        primary = primary_metrics(dataset)
        if by not in primary:
            raise UserError(f"--by={by}: expected a task with a metric, not a pretext")
        metric = primary[by]
        words, units = f"{metric.name} of {by}", {by: 1.0}
        return _mean(words, metric.name, metric.higher_is_better, units)
    known = metric_tasks(dataset)
    if by not in known:
        raise UserError(f"--by={by}: {nearest(by, [*known, *dataset.tasks])}")
    units, higher = {}, False
    for group in dataset.groups:
        for metric in METRICS[group.kind]:
            if metric.name == by:
                higher = metric.higher_is_better
                own = np.ones(len(group.tasks)) if higher else group.units
                units |= dict(zip(group.tasks, own.tolist(), strict=True))
    return _mean(f"the mean {by} of tasks", by, higher, units)


def _score(outcome: Outcome) -> float:
    return float(outcome.scores.mean())


def _mean(words: str, metric: str, higher: bool, units: dict[str, float]) -> Criterion:
    """The mean of one metric over the tasks that have it."""

    def value(outcome: Outcome) -> float:
        # A seed that diverged may have had good looks before; its score is nan.
        if not outcome.metrics or np.isnan(outcome.scores).any():
            return float("nan")
        each = [outcome.metrics[task][metric] / unit for task, unit in units.items()]
        return float(np.mean(each))

    return Criterion(words, higher, value)
