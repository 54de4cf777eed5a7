"""What models, and trials of a comparison, are chosen by on validation data."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError, nearest
from mtopt.metrics import metrics_of


class Criterion(NamedTuple):
    """A number for every model: a metric of one task, or its mean over several.

    Attributes:
      words: what it is.
      metric: its name; empty for the first one of each task.
      higher_is_better: its direction; of first metrics, errors are taken negative.
      units: what it is divided by, of each task that has a part in it; empty for the
        first metrics of all tasks.
    """

    words: str
    metric: str
    higher_is_better: bool
    units: Mapping[str, float]

    def has(self, task: str) -> bool:
        """Whether a task has a part in it."""
        return not self.units or task in self.units

    def by_task(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """How each task is judged alone: one without a part by its first metric.

        Args:
          dataset: of one kind of labels, which has metrics.

        Returns:
          The number of its metric, ``[K]``, and what to divide that by so that higher
          is better and tasks can be averaged, ``[K]``.
        """
        metrics = metrics_of(dataset.kind)
        names = [metric.name for metric in metrics]
        deviations = dataset.target_std
        if deviations is None:
            deviations = dataset.target_scale
        index, divisor = [], []
        for k, task in enumerate(dataset.tasks):
            own = names.index(self.metric) if task in self.units else 0
            unit = 1.0 if deviations is None else float(deviations[k])
            unit = self.units.get(task, unit) * metrics[own].unit
            index.append(own)
            divisor.append(1.0 if metrics[own].higher_is_better else -unit)
        return np.array(index), np.array(divisor)


SCORE = Criterion("the mean of each task's first metric", "", True, {})
"""What models are chosen by where nothing is named."""


def criterion(
    name: str, dataset: Dataset | JointDataset, said: str = "choose_by"
) -> Criterion:
    """What a name stands for.

    Args:
      name: a task, whose first metric counts; a metric, of which the mean over the
        tasks that have it counts, errors in units of the deviation of each task's
        targets; or nothing, for :data:`SCORE`.
      dataset: what is trained on.
      said: the option that names it, for errors.

    Raises:
      UserError: for another name, or a task without a metric.

    Example:
      >>> from mtopt.data import multi_digits
      >>> digits = multi_digits(num_train=8, num_valid=4, num_test=4)
      >>> criterion("left", digits).words, criterion("accuracy", digits).words
      ('accuracy of left', 'the mean accuracy of tasks')
    """
    if not name:
        return SCORE
    metrics: list[str] = []
    units: dict[str, float] = {}
    higher = False
    for group in dataset.groups:
        own = metrics_of(group.kind)
        if name in group.tasks:
            if not own:
                raise UserError(
                    f"{said}={name}: expected a task with a metric, not a pretext"
                )
            words = f"{own[0].name} of {name}"
            higher = own[0].higher_is_better
            return Criterion(words, own[0].name, higher, {name: 1.0})
        for metric in own:
            metrics.append(metric.name)
            if metric.name == name:
                higher = metric.higher_is_better
                each = np.ones(len(group.tasks)) if higher else group.units
                units |= dict(zip(group.tasks, each.tolist(), strict=True))
    if not units:
        raise UserError(f"{said}={name}: {nearest(name, [*metrics, *dataset.tasks])}")
    return Criterion(f"the mean {name} of tasks", name, higher, units)
