"""Metrics of every seed and task on a split."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.batch import is_real
from mtopt.data.dataset import Dataset, Split
from mtopt.data.sources import JointDataset
from mtopt.metrics import Metric, metrics_of, pooled_metrics
from mtopt.models.heads import label_losses
from mtopt.training.criterion import SCORE, Criterion

MOST_SAMPLES = 1024
MOST_NUMBERS = 2**22


class Scores(NamedTuple):
    """The metrics of a model on a split.

    Attributes:
      metrics: ``[S, K, M]``, those of :func:`metric_tasks`; NaN where one is undefined
        (a task without labels, an AUC with one class), or is none of the task's kind.
      pooled: ``[S, M]``, over the samples of all tasks together, none of one compared
        with one of another; see :func:`mtopt.metrics.pooled_metrics`. Errors are in
        units of each task's deviation but for data of ``common_units``. NaN for a
        metric that tasks of several groups have.
      selection: ``[S, K]``, higher is better: the metric that models are chosen by, in
        units that can be averaged over tasks: the first one of each task unless told
        otherwise (an error is divided by its target's standard deviation).
        Where the labels leave it undefined, as one class leaves an AUC, minus the mean
        loss; minus infinity where outputs are not finite. NaN without labels, and for
        a pretext, which has neither.
    """

    metrics: np.ndarray
    pooled: np.ndarray
    selection: np.ndarray


def metric_tasks(dataset: Dataset | JointDataset) -> dict[str, tuple[str, ...]]:
    """The metrics of all kinds of labels of a data set, and the tasks that have each.

    Kinds may have metrics of one name, as all that count errors in units have ``mae``.

    Args:
      dataset: of one kind or several.
    """
    found: dict[str, tuple[str, ...]] = {}
    for group in dataset.groups:
        for metric in metrics_of(group.kind):
            found[metric.name] = (*found.get(metric.name, ()), *group.tasks)
    return found


def primary_metrics(dataset: Dataset | JointDataset) -> dict[str, Metric]:
    """For each task, sorted by name, the first metric of its kind, if that has any.

    Args:
      dataset: of one kind or several.
    """
    own = {
        task: metrics_of(group.kind)[0]
        for group in dataset.groups
        if metrics_of(group.kind)
        for task in group.tasks
    }
    return dict(sorted(own.items()))


def evaluate(
    predict: Callable[[Any], Any],
    dataset: Dataset | JointDataset,
    split: Split,
    *,
    batch_size: int | None = None,
    by: Criterion = SCORE,
) -> Scores:
    """Runs models over a split, in evaluation mode, and scores every task.

    Every label counts alike, whatever its weight in training: weights of samples enter
    losses, not scores, as in scikit-learn, whose scorers are told of none.

    Args:
      predict: ``x -> outputs [S, K, B, ...]`` of S models, a tuple of them where there
        are several groups of tasks.
      dataset: names the kinds of the labels, and the units of regression targets.
      split: one of its splits.
      batch_size: samples (per task, if inputs are disjoint) per pass;
        :func:`samples_at_once` unless given.
      by: what models are chosen by, for the selection.
    """
    if batch_size is None:
        batch_size = _batch_size(dataset, next(split.in_order(1)).x)
    found: list[list[Any]] = [[] for _ in dataset.groups]
    for batch in split.in_order(batch_size):
        parts = map(_by_group, (predict(batch.x), batch.y, batch.mask))
        for rows, group, part in zip(
            found, dataset.groups, zip(*parts, strict=True), strict=True
        ):
            rows.append(_kept(group.kind, *part))
    each = [
        _scores(rows, group, by)
        for rows, group in zip(found, dataset.groups, strict=True)
    ]
    return each[0] if len(each) == 1 else _together(dataset, each)


def samples_at_once(x: Any, lead: int = 1) -> int:
    """How many samples go through a model in one pass: what activations have room for.

    Args:
      x: inputs of some, any tree of arrays.
      lead: how many of their first axes are not of one sample.

    Returns:
      1024 of up to 4,096 numbers each, fewer of larger ones, at least 1.

    Example:
      >>> [samples_at_once(np.zeros((1, *shape))) for shape in [(9,), (288, 384, 3)]]
      [1024, 12]
    """
    numbers = sum(math.prod(leaf.shape[lead:]) for leaf in jax.tree.leaves(x))
    return max(1, min(MOST_SAMPLES, MOST_NUMBERS // max(numbers, 1)))


def _batch_size(dataset: Dataset | JointDataset, x: Any) -> int:
    """The same for the inputs of all groups."""
    apart = isinstance(dataset, JointDataset) and not dataset.shared_inputs
    inputs = x if apart else (x,)
    axes = [1 if group.x_axis is None else 2 for group in dataset.groups]
    return min(map(samples_at_once, inputs, axes))


def _by_group(value: Any) -> tuple[Any, ...]:
    """One entry a group; of a data set of one kind, one."""
    return value if isinstance(value, tuple) else (value,)


def _kept(kind: str, outputs: Any, labels: Any, mask: Any) -> tuple[Any, Any, Any]:
    """What of a batch is kept until the split has been read.

    Args:
      kind: of the labels.
      outputs: ``[S, K, b, ...]``.
      labels: ``[K, b, ...]``.
      mask: ``[K, b]``.

    Returns:
      Outputs, labels and mask; in place of the first two, where all metrics read a
      statistic, a dict of those, ``[S, K, b, ...]``, and None.
    """
    statistics = {metric.statistic: None for metric in metrics_of(kind)}
    if not statistics or None in statistics:
        return outputs, labels, mask
    outputs, labels = np.asarray(outputs), np.asarray(labels)

    def rows(statistic: Any) -> np.ndarray:
        each = [
            [statistic(*task) for task in zip(seed, labels, strict=True)]
            for seed in outputs
        ]
        return np.array(each)

    return {statistic: rows(statistic) for statistic in statistics}, None, mask


def _scores(batches: Sequence[Any], data: Dataset, by: Criterion) -> Scores:
    """Those of the tasks of one kind, from what was kept of each batch."""
    masks = [np.asarray(mask) for _, _, mask in batches]
    mask = is_real(np.concatenate(masks, axis=1))
    if isinstance(batches[0][0], dict):
        return _scores_of_statistics([rows for rows, _, _ in batches], mask, data, by)
    outputs = np.concatenate([np.asarray(each) for each, _, _ in batches], axis=2)
    targets = np.concatenate([np.asarray(each) for _, each, _ in batches], axis=1)
    raw = outputs, targets
    if data.target_std is not None:
        shift = np.asarray(data.target_mean, np.float64)[:, None]
        scale = np.asarray(data.target_std, np.float64)[:, None]
        outputs, targets = outputs * scale[None] + shift[None], targets * scale + shift
    metrics = metrics_of(data.kind)
    scores = np.array(
        [
            [
                [metric.value(out, y, m) for metric in metrics]
                for out, y, m in zip(seed, targets, mask, strict=True)
            ]
            for seed in outputs
        ]
    )
    pooled = np.array(
        [pooled_metrics(data.kind, seed, targets, mask, data.units) for seed in outputs]
    )
    if not metrics:
        return Scores(scores, pooled, np.full(scores.shape[:2], np.nan))
    selection = _selection(scores, data, by)
    undefined = np.isnan(selection)
    losses = _losses(*raw, mask, undefined, data.kind)
    return Scores(scores, pooled, np.where(undefined, -losses, selection))


def _scores_of_statistics(
    batches: Sequence[dict[Any, np.ndarray]],
    mask: np.ndarray,
    data: Dataset,
    by: Criterion,
) -> Scores:
    """Those of metrics that read rows. One without a value has no finite output."""
    rows = {
        statistic: np.concatenate([batch[statistic] for batch in batches], axis=2)
        for statistic in batches[0]
    }
    metrics = metrics_of(data.kind)
    seeds, tasks = next(iter(rows.values())).shape[:2]
    scores = np.full((seeds, tasks, len(metrics)), np.nan)
    pooled = np.full((seeds, len(metrics)), np.nan)
    for i, metric in enumerate(metrics):
        for s, own in enumerate(rows[metric.statistic]):
            of_tasks = [row[m] for row, m in zip(own, mask, strict=True)]
            scores[s, :, i] = [metric.function(row) for row in of_tasks]
            pooled[s, i] = metric.function(np.concatenate(of_tasks))
    selection = _selection(scores, data, by)
    diverged = np.isnan(selection) & np.any(mask, axis=1)
    return Scores(scores, pooled, np.where(diverged, -np.inf, selection))


def _selection(scores: np.ndarray, data: Dataset, by: Criterion) -> np.ndarray:
    """What models are chosen by, NaN where the metric is undefined."""
    index, divisor = by.by_task(data)
    return scores[:, np.arange(len(index)), index] / divisor[None]


def _losses(
    outputs: np.ndarray,
    targets: np.ndarray,
    mask: np.ndarray,
    wanted: np.ndarray,
    kind: str,
) -> np.ndarray:
    """The mean loss of those tasks, ``[S, K]``, that are wanted and have labels.

    Infinite where the outputs are not finite.
    """
    found = np.full(wanted.shape, np.nan)
    labelled = np.asarray(mask.any(axis=1))
    for s, k in np.argwhere(wanted & labelled[None]).tolist():
        known = mask[k]
        out, y = (jnp.asarray(each[known]) for each in (outputs[s, k], targets[k]))
        loss = label_losses(out, y, kind).mean()
        found[s, k] = loss if jnp.isfinite(loss) else np.inf
    return found


def _together(dataset: Dataset | JointDataset, each: Sequence[Scores]) -> Scores:
    """The scores of all groups, tasks in their order, each metric in its column."""
    names = list(metric_tasks(dataset))
    seeds = len(each[0].metrics)
    metrics = np.full((seeds, len(dataset.tasks), len(names)), np.nan)
    selection = np.full((seeds, len(dataset.tasks)), np.nan)
    pooled = np.full((seeds, len(names)), np.nan)
    columns = [
        [names.index(metric.name) for metric in metrics_of(group.kind)]
        for group in dataset.groups
    ]
    for group, scores, own in zip(dataset.groups, each, columns, strict=True):
        rows = [dataset.tasks.index(task) for task in group.tasks]
        metrics[:, np.array(rows)[:, None], np.array(own, int)[None]] = scores.metrics
        selection[:, rows] = scores.selection
        for column, values in zip(own, scores.pooled.T, strict=True):
            if sum(column in others for others in columns) == 1:
                pooled[:, column] = values
    return Scores(metrics, pooled, selection)
