"""Metrics of every seed and task on a split."""

from typing import Any, NamedTuple

import numpy as np

from mtopt.data.dataset import Dataset, Split
from mtopt.metrics import METRICS, pooled_metrics
from mtopt.training.program import Program


class Scores(NamedTuple):
    """The metrics of a model on a split.

    Attributes:
      metrics: ``[S, K, M]``, the metrics of the data's kind; NaN where one is
        undefined (a task without labels, an AUC with one class).
      pooled: ``[S, M]``, over the samples of all tasks together, none of one compared
        with one of another; see :func:`mtopt.metrics.pooled_metrics`. Errors are in
        units of each task's deviation but for data of ``common_units``.
      selection: ``[S, K]``, higher is better: the primary metric in units that can be
        averaged over tasks (an error is divided by its target's standard deviation).
    """

    metrics: np.ndarray
    pooled: np.ndarray
    selection: np.ndarray


def evaluate(
    program: Program,
    params: Any,
    model_state: Any,
    dataset: Dataset,
    split: Split,
    *,
    batch_size: int = 1024,
) -> Scores:
    """Runs the model over a split, in evaluation mode, and scores every task.

    Args:
      program: the functions that trained the parameters.
      params: parameters of S seeds.
      model_state: their model state.
      dataset: names the kind of the labels, and the units of regression targets.
      split: one of its splits.
      batch_size: samples (per task, if inputs are disjoint) per pass.
    """
    batches = list(split.in_order(batch_size))
    outputs = np.concatenate(
        [np.asarray(program.predict(params, model_state, b.x)) for b in batches], axis=2
    )
    targets = np.concatenate([np.asarray(b.y) for b in batches], axis=1)
    mask = np.concatenate([np.asarray(b.mask) for b in batches], axis=1)
    unit = np.ones(len(dataset.tasks))
    if dataset.target_std is not None:
        unit = np.asarray(dataset.target_std, np.float64)
        shift = np.asarray(dataset.target_mean, np.float64)[:, None]
        scale = unit[:, None]
        outputs, targets = outputs * scale[None] + shift[None], targets * scale + shift
    metrics = METRICS[dataset.kind]
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
        [
            pooled_metrics(dataset.kind, seed, targets, mask, dataset.units)
            for seed in outputs
        ]
    )
    primary = scores[:, :, 0]
    selection = primary if metrics[0].higher_is_better else -primary / unit[None]
    return Scores(scores, pooled, selection)
