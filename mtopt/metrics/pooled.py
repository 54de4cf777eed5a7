"""Metrics over the samples of several tasks, none of one compared with one of another.

Where tasks differ in their means, base rates or units, metrics of all samples thrown
together measure that: a task's mean, which tells nothing within it, explains nearly all
variance of kilometres beside millimetres. Here variance is that within tasks, pairs are
of one task, and errors are in the units that the caller divides by.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from mtopt.metrics.kinds import metrics_of
from mtopt.metrics.ordinal import disagreement, median_level
from mtopt.metrics.task_metrics import MetricFunction, auc, r2

Arrays = Sequence[np.ndarray] | np.ndarray
"""One array a task."""


def pooled_metrics(
    kind: str, outputs: Arrays, targets: Arrays, masks: Arrays, units: np.ndarray
) -> list[float]:
    r"""The metrics of a kind, :data:`mtopt.metrics.METRICS`, of K tasks together.

    Over the labelled samples i of tasks k, with :math:`e = (\hat y - y) / u_k`:

    .. math::
       \text{rmse} &= \sqrt{\operatorname{mean} e^2}, \qquad
       \text{mae} = \operatorname{mean} |e| \\
       R^2 &= 1 - \frac{\sum_k \sum_i e_{ki}^2}
                       {\sum_k \sum_i (y_{ki} - \bar y_k)^2 / u_k^2} \\
       \text{auc} &= \frac{\sum_k n_k^+ n_k^- \, \text{auc}_k}{\sum_k n_k^+ n_k^-}

    kappa like :math:`R^2`, below its line the disagreement that chance makes within
    each task, and the accuracy of all labels. Of one task they are its own metrics.

    Args:
      kind: of the labels, a key of :data:`mtopt.metrics.METRICS`.
      outputs: of each task, as that kind's metrics take them.
      targets: likewise.
      masks: likewise.
      units: what the errors of each task are divided by, ``[K]``, above 0; ones where
        all are in one unit.

    Returns:
      The metrics in the order of the kind's. A task whose own R2, AUC or kappa is not
      defined for want of two values takes no part in it; nan where that leaves nothing,
      or where the output of a labelled sample is not finite.

    Raises:
      UserError: as :func:`mtopt.metrics.accuracy` and the others.

    Example:
      Two tasks that differ in their means, and outputs that know only these:

      >>> y = [np.array([-1., 1.]), np.array([99., 101.])]
      >>> means, masks = [np.zeros(2), np.full(2, 100.)], [np.ones(2, bool)] * 2
      >>> pooled_metrics("regression", means, y, masks, np.ones(2))
      [1.0, 1.0, 0.0]
    """
    if kind == "regression":
        outputs, targets = (
            [array / unit for array, unit in zip(arrays, units, strict=True)]
            for arrays in (outputs, targets)
        )
    return [
        POOLED.get((kind, metric.name), _joined(metric.value))(outputs, targets, masks)
        for metric in metrics_of(kind)
    ]


def pooled_r2(outputs: Arrays, targets: Arrays, masks: Arrays) -> float:
    """The share of the variance within tasks that is explained.

    Args:
      outputs: of each task, predictions ``[n]``.
      targets: real values ``[n]``.
      masks: bool ``[n]``, True where the sample is labelled.

    Returns:
      At most 1; nan as :func:`pooled_metrics`.
    """
    parts = []
    for output, target, mask in zip(outputs, targets, masks, strict=True):
        if mask.any() and np.ptp(target[mask]) > 0:
            mean = target[mask].mean(dtype=np.float64)
            parts.append((output - mean, target - mean, mask))
    return _joined(r2)(*zip(*parts, strict=True)) if parts else float("nan")


def pooled_auc(outputs: Arrays, targets: Arrays, masks: Arrays) -> float:
    """The share of pairs of one task, one labelled 1 and one 0, in the right order.

    Args:
      outputs: of each task, scores ``[n]``, or ``[n, labels]``.
      targets: 0/1 labels of that shape.
      masks: bool ``[n]``, True where the sample is labelled.

    Returns:
      In [0, 1]; of several label columns the mean over those that have pairs; nan as
      :func:`pooled_metrics`.
    """
    areas, pairs = [], []
    for output, target, mask in zip(outputs, targets, masks, strict=True):
        if not np.isfinite(output[mask]).all():
            return float("nan")
        columns = zip(np.atleast_2d(output.T), np.atleast_2d(target.T), strict=True)
        each = [(auc(scores, labels, mask), labels[mask]) for scores, labels in columns]
        areas.append([area for area, _ in each])
        pairs.append([(y == 1).sum() * (y == 0).sum() for _, y in each])
    counts = np.array(pairs)
    some = counts.any(axis=0)
    if not some.any():
        return float("nan")
    right = np.where(counts > 0, np.array(areas) * counts, 0).sum(axis=0)
    return float((right[some] / counts.sum(axis=0)[some]).mean())


def pooled_kappa(
    outputs: Arrays, targets: Arrays, masks: Arrays, *, adjacent: bool
) -> float:
    """Quadratic kappa, with chance as it is within each task.

    Args:
      outputs: of each task, logits ``[n, C - 1]``.
      targets: levels ``[n]``.
      masks: bool ``[n]``, True where the sample is labelled.
      adjacent: as in :func:`mtopt.metrics.median_level`.

    Returns:
      At most 1; nan as :func:`pooled_metrics`.
    """
    total = np.zeros(2)
    for output, target, mask in zip(outputs, targets, masks, strict=True):
        if mask.any():
            level = median_level(output[mask], adjacent=adjacent)
            total += mask.sum() * np.array(disagreement(level, target[mask]))
    observed, expected = total.tolist()
    return 1 - observed / expected if expected != 0 else float("nan")


def _joined(metric: MetricFunction) -> Callable[[Arrays, Arrays, Arrays], float]:
    """The metric of all samples, for one that compares no sample with another."""
    return lambda *parts: metric(*(np.concatenate(part) for part in parts))


POOLED = {
    ("regression", "r2"): pooled_r2,
    ("binary", "auc"): pooled_auc,
    ("multilabel", "macro_auc"): pooled_auc,
    ("ordinal", "kappa"): functools.partial(pooled_kappa, adjacent=False),
    ("ordinal_adjacent", "kappa"): functools.partial(pooled_kappa, adjacent=True),
}
"""Metrics that compare samples: how, where they are of several tasks."""
