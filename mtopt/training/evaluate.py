"""Metrics of every seed and task on a split."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mtopt.batch import is_real
from mtopt.data.dataset import Dataset, Split
from mtopt.data.sources import JointDataset
from mtopt.metrics import Metric, metrics_of, pooled_metrics
from mtopt.models.heads import per_sample_loss
from mtopt.training.criterion import SCORE, Criterion


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
    batch_size: int = 1024,
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
      batch_size: samples (per task, if inputs are disjoint) per pass.
      by: what models are chosen by, for the selection.
    """
    batches = list(split.in_order(batch_size))
    outputs = [predict(b.x) for b in batches]
    of_groups = zip(
        zip(*map(_by_group, outputs), strict=True),
        zip(*(_by_group(b.y) for b in batches), strict=True),
        zip(*(_by_group(b.mask) for b in batches), strict=True),
        dataset.groups,
        strict=True,
    )
    each = [_scores(*parts, by) for parts in of_groups]
    return each[0] if len(each) == 1 else _together(dataset, each)


def _by_group(value: Any) -> tuple[Any, ...]:
    """One entry a group; of a data set of one kind, one."""
    return value if isinstance(value, tuple) else (value,)


def _scores(
    predicted: Sequence[Any],
    labels: Sequence[Any],
    masks: Sequence[Any],
    data: Dataset,
    by: Criterion,
) -> Scores:
    """Those of the tasks of one kind, from what each batch has of them."""
    outputs = np.concatenate([np.asarray(each) for each in predicted], axis=2)
    targets = np.concatenate([np.asarray(each) for each in labels], axis=1)
    mask = is_real(np.concatenate([np.asarray(each) for each in masks], axis=1))
    raw = outputs, targets
    if data.target_std is not None:
        shift = np.asarray(data.target_mean, np.float64)[:, None]
        scale = np.asarray(data.target_std, np.float64)[:, None]
        outputs, targets = outputs * scale[None] + shift[None], targets * scale + shift
    metrics = metrics_of(data.kind)
    scores = np.array(
        [
            [
                [metric.function(out, y, m) for metric in metrics]
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
    index, divisor = by.by_task(data)
    selection = scores[:, np.arange(len(index)), index] / divisor[None]
    undefined = np.isnan(selection)
    losses = _losses(*raw, mask, undefined, data.kind)
    return Scores(scores, pooled, np.where(undefined, -losses, selection))


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
        loss = per_sample_loss(out, y, kind).mean()
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
