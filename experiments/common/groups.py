"""The results of a comparison group by group, where tasks are of several kinds."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.metrics import metrics_of
from mtopt.training.evaluate import metric_tasks

from .results import Comparison, MethodResult


def group_names(dataset: Dataset | JointDataset) -> list[str]:
    """What to call the groups in titles and file names: each in another way.

    By the names of the sources; of those with one name, such as the columns of one
    file, by the kind of the labels too, and by the first task where that is not enough.
    """
    groups = dataset.groups
    names = [group.name for group in groups]
    for more in (lambda group: group.kind, lambda group: group.tasks[0]):
        names = [
            f"{name} {more(group)}" if names.count(name) > 1 else name
            for name, group in zip(names, groups, strict=True)
        ]
    return names


def compared_by_group(
    experiment: str,
    dataset: Dataset | JointDataset,
    baselines: Sequence[MethodResult],
    methods: Sequence[MethodResult],
    protocol: tuple[str, ...] = (),
) -> list[Comparison]:
    """A comparison for each group, of its tasks by its metrics.

    Args:
      experiment: its name.
      dataset: what was trained on.
      baselines: the single-task models of each group; empty where there are none.
      methods: results on all tasks of the data set, metrics as of
        :func:`mtopt.training.evaluate.metric_tasks`.
      protocol: as of :class:`experiments.common.results.Comparison`.
    """
    names = group_names(dataset)
    single: Sequence[MethodResult | None] = baselines or [None] * len(names)
    several = len(names) > 1
    return [
        Comparison(
            experiment=experiment,
            task_names=group.tasks,
            metric_names=tuple(metric.name for metric in metrics_of(group.kind)),
            higher_is_better=tuple(m.higher_is_better for m in metrics_of(group.kind)),
            baseline=baseline,
            methods=[_of_group(result, dataset, group) for result in methods],
            units=None if group.in_one_unit else group.units,
            group=name if several else "",
            protocol=protocol,
        )
        for name, group, baseline in zip(names, dataset.groups, single, strict=True)
    ]


def _of_group(
    result: MethodResult, dataset: Dataset | JointDataset, group: Dataset
) -> MethodResult:
    """A result on all tasks, the part of one group."""
    names = list(metric_tasks(dataset))
    rows = np.array([dataset.tasks.index(task) for task in group.tasks])
    columns = np.array([names.index(metric.name) for metric in metrics_of(group.kind)])
    curves = dict(result.curves)
    if curves:
        curves["validation"] = curves["validation"][..., rows]
    metrics = result.metrics[:, rows[:, None], columns]
    return dataclasses.replace(result, metrics=metrics, curves=curves)
