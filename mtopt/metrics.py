"""Evaluation on the host: task metrics, relative gains over single-task, ranks.

A task metric is a function of ``(output, target, mask)``: what the head put out,
what it should have put out, and which samples carry a label at all. The other
functions compare methods by such metrics. NumPy in, Python or NumPy out.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

from mtopt.errors import UserError


class Metric(NamedTuple):
    """A named task metric and its direction.

    Attributes:
      name: short ASCII name, fit for a file column.
      higher_is_better: True for an accuracy, False for an error.
      function: maps ``(output, target, mask)`` to one number; see `accuracy`.
    """

    name: str
    higher_is_better: bool
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def accuracy(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """The share of labels predicted right, in [0, 1]; higher is better.

    The prediction is the class with the largest logit; for binary and multi-label
    tasks a label is predicted where its logit is above 0.

    Args:
      output: logits, ``[n, classes]``, or ``[n]`` (binary), or ``[n, labels]``
        (multi-label).
      target: the class numbers ``[n]``, or 0/1 labels of the shape of ``output``.
      mask: bool ``[n]``, True where the sample is labelled. What stands behind a
        False is never read and may be NaN.

    Returns:
      The accuracy; nan if no sample is labelled, or if the logit of a labelled one is
      not finite (a diverged model has no accuracy).

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target is
        not finite or not 0 or 1 where it has to be.

    Example:
      >>> logits = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
      >>> accuracy(logits, np.array([0, 1, 1]), np.array([True, True, False]))
      1.0
    """
    if np.ndim(output) == np.ndim(target) + 1:
        output, target = _labelled(output, target, mask, np.shape(output)[:-1])
        correct = output.argmax(-1) == target
    else:
        output, target = _labelled(output, target, mask, np.shape(output))
        correct = (output > 0) == _zero_one(target)
    return float(correct.mean()) if _measurable(output) else float("nan")


def auc(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Area under the ROC curve, in [0, 1]; higher is better, 0.5 is chance.

    For a multi-label task: the mean over the label columns (macro average) that hold
    both classes.

    Args:
      output: scores or logits, ``[n]`` or ``[n, labels]``; only their order counts.
      target: 0/1 labels of the shape of ``output``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The area; nan where no column holds both classes, or where the score of a
      labelled sample is not finite.

    Raises:
      UserError: as `accuracy`.

    Example:
      >>> scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
      >>> auc(scores, labels, np.ones(4, bool))
      0.75
    """
    from sklearn.metrics import roc_auc_score

    output, target = _labelled(output, target, mask, np.shape(output))
    target = _zero_one(target)
    if not _measurable(output):
        return float("nan")
    columns = zip(np.atleast_2d(output.T), np.atleast_2d(target.T), strict=True)
    areas = [roc_auc_score(y, score) for score, y in columns if 0 < y.mean() < 1]
    return float(np.mean(areas)) if areas else float("nan")


def rmse(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Root mean squared error, in units of the target; lower is better.

    Args:
      output: predictions ``[n]``.
      target: real values ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The error; nan if no sample is labelled or the prediction of a labelled one is
      not finite.

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target is
        not finite.

    Example:
      >>> rmse(np.array([1.0, 2.0]), np.array([2.0, 9.0]), np.ones(2, bool))
      5.0
    """
    output, target = _labelled(output, target, mask, np.shape(output))
    if not _measurable(output):
        return float("nan")
    return float(np.sqrt(np.mean((output - target) ** 2)))


def mae(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute error, in units of the target; lower is better.

    Args:
      output: predictions ``[n]``.
      target: real values ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The error; nan as for `rmse`.

    Raises:
      UserError: as `rmse`.

    Example:
      >>> mae(np.array([1.0, 2.0]), np.array([4.0, 6.0]), np.ones(2, bool))
      3.5
    """
    output, target = _labelled(output, target, mask, np.shape(output))
    return float(np.abs(output - target).mean()) if _measurable(output) else np.nan


def r2(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Coefficient of determination, at most 1; higher is better, 0 is the mean.

    Args:
      output: predictions ``[n]``.
      target: real values ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The coefficient; nan as for `rmse`, and where all labelled targets are equal (one
      sample among them): there is no variance to explain.

    Raises:
      UserError: as `rmse`.

    Example:
      >>> target = np.array([1.0, 2.0, 3.0])
      >>> r2(np.array([1.0, 2.0, 4.0]), target, np.ones(3, bool))
      0.5
    """
    from sklearn.metrics import r2_score

    output, target = _labelled(output, target, mask, np.shape(output))
    if not _measurable(output) or np.ptp(target) == 0:
        return float("nan")
    return float(r2_score(target, output))


METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": (Metric("accuracy", True, accuracy),),
    "binary": (Metric("auc", True, auc), Metric("accuracy", True, accuracy)),
    "multilabel": (Metric("macro_auc", True, auc), Metric("accuracy", True, accuracy)),
    "regression": (
        Metric("rmse", False, rmse),
        Metric("mae", False, mae),
        Metric("r2", True, r2),
    ),
}
"""The metrics of each kind of task; the first one is its primary metric."""


def delta_m_per_metric(
    values: npt.ArrayLike, baselines: npt.ArrayLike, higher_is_better: npt.ArrayLike
) -> float:
    """Δm %: the mean relative *loss* over all metrics. LOWER is better, below 0 wins.

    The number tables of the Nash-MTL line of papers report against single-task
    models::

        Δm = 100/M · Σ_m (-1)^{s_m} (M_m - B_m) / |B_m|,   s_m = 1 if higher is better

    A task with five metrics counts five times as much as one with a single metric.

    Args:
      values: the M metrics of the method, all metrics of all tasks in one row.
      baselines: the same metrics of the baseline.
      higher_is_better: M bools.

    Returns:
      Δm in percent, over the metrics that neither the method nor the baseline has as
      nan; the others are left out. nan if none remains.

    Raises:
      UserError: if the lengths differ or a baseline is 0.

    Example:
      An accuracy that falls by a quarter, an error that falls by a fifth:

      >>> delta_m_per_metric([75.0, 8.0], [100.0, 10.0], [True, False])
      2.5

    Source:
      "Multi-Task Learning as a Bargaining Game", 2022, arXiv:2202.01017.

      Difference: the paper divides by B. The two are the same for metrics above 0; for
      a baseline below 0 (an R2 can be) only the absolute value keeps the sign right.
    """
    gains = _relative_gains(values, baselines, higher_is_better)
    return -_defined_mean(gains)


def delta_p_per_task(
    values: npt.ArrayLike,
    baselines: npt.ArrayLike,
    higher_is_better: npt.ArrayLike,
    task_of_metric: Sequence[Hashable],
) -> float:
    """Δp %: the mean relative *gain* over tasks. HIGHER is better, above 0 wins.

    The number tables of LibMTL, DB-MTL and Rep-MTL report against single-task models:
    relative gains are averaged within each task, then over tasks, so that every task
    counts the same::

        Δp = 100/K · Σ_k 1/M_k · Σ_{m of k} (-1)^{1 - s_m} (M_m - B_m) / |B_m|

    It is not the negative of `delta_m_per_metric` unless all tasks have the same
    number of metrics.

    Args:
      values: the M metrics of the method, all metrics of all tasks in one row.
      baselines: the same metrics of the baseline.
      higher_is_better: M bools.
      task_of_metric: for each of the M metrics the task it belongs to, as a name or a
        number.

    Returns:
      Δp in percent. A metric that the method or the baseline has as nan is left out;
      so is a task without any other. nan if none remains.

    Raises:
      UserError: if the lengths differ or a baseline is 0.

    Example:
      One task with two metrics (-10 %, -20 %), one with a single metric (+20 %):

      >>> values, baselines = [0.9, 0.8, 8.0], [1.0, 1.0, 10.0]
      >>> print(f"{delta_p_per_task(values, baselines, [1, 1, 0], 'aab'):.2f}")
      2.50

    Source:
      "LibMTL: A Python Library for Deep Multi-Task Learning", 2023, arXiv:2203.14338;
      "Dual-Balancing for Multi-Task Learning", 2023, arXiv:2308.12029.

      Difference: |B| for B, as in `delta_m_per_metric`.
    """
    gains = _relative_gains(values, baselines, higher_is_better)
    if len(task_of_metric) != len(gains):
        raise UserError(
            f"task_of_metric has {len(task_of_metric)} entries for {len(gains)} "
            "metrics; give the task of each metric"
        )
    of_task: dict[Hashable, list[float]] = {task: [] for task in task_of_metric}
    for task, gain in zip(task_of_metric, gains, strict=True):
        of_task[task].append(gain)
    return _defined_mean(
        np.array([_defined_mean(np.array(g)) for g in of_task.values()])
    )


def mean_rank(
    values: npt.ArrayLike, higher_is_better: npt.ArrayLike
) -> Float[np.ndarray, " methods"]:
    """The rank of each method, averaged over metrics. LOWER is better, 1 = always best.

    It depends on the set of methods: ranks of different tables cannot be compared.

    Args:
      values: the metrics ``[methods, M]``.
      higher_is_better: M bools.

    Returns:
      The mean ranks ``[methods]``, in [1, methods]. Ties share the average of their
      ranks; nan ranks last, as an infinite error does.

    Raises:
      UserError: if ``values`` is not a table of M columns.

    Example:
      >>> accuracy_and_rmse = [[0.9, 3.0], [0.8, 3.0], [float("nan"), 1.0]]
      >>> mean_rank(accuracy_and_rmse, [True, False])
      array([1.75, 2.25, 2.  ])
    """
    return ranks(values, higher_is_better).mean(1)


def ranks(
    values: npt.ArrayLike, higher_is_better: npt.ArrayLike
) -> Float[np.ndarray, "methods M"]:
    """The rank of each method by each metric. LOWER is better, 1 = best.

    Args:
      values: the metrics ``[methods, M]``.
      higher_is_better: M bools.

    Returns:
      ``[methods, M]``, in [1, methods]. Ties share the average of their ranks; nan
      ranks last, as an infinite error does.

    Raises:
      UserError: if ``values`` is not a table of M columns.

    Example:
      >>> ranks([[0.9, 3.0], [0.8, 3.0], [float("nan"), 1.0]], [True, False])
      array([[1. , 2.5],
             [2. , 2.5],
             [3. , 1. ]])
    """
    values, higher = np.asarray(values, float), np.asarray(higher_is_better, bool)
    if values.ndim != 2 or values.shape[1:] != higher.shape or 0 in values.shape:
        raise UserError(
            f"values has shape {values.shape} and higher_is_better {higher.shape}; "
            "expected [methods, metrics] and [metrics], neither empty"
        )
    cost = np.where(higher, -values, values)
    cost = np.where(np.isnan(cost), np.inf, cost)
    better = (cost[None] < cost[:, None]).sum(1)
    no_worse = (cost[None] <= cost[:, None]).sum(1)
    return (better + no_worse + 1) / 2


def mean_and_spread(
    values: npt.ArrayLike, axis: int
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Mean and sample standard deviation over seeds, without the seeds that are nan.

    Args:
      values: numbers of any shape.
      axis: the axis of the seeds.

    Returns:
      The mean and the standard deviation (divisor: seeds - 1) over that axis. The
      deviation of a single seed is 0; without any seed both are nan.

    Example:
      >>> mean, spread = mean_and_spread([[1.0, 5.0], [3.0, float("nan")]], axis=0)
      >>> mean, spread.round(3)
      (array([2., 5.]), array([1.414, 0.   ]))
    """
    values = np.asarray(values, float)
    defined = ~np.isnan(values)
    seeds = defined.sum(axis, keepdims=True)
    with np.errstate(invalid="ignore"):  # 0/0 without a seed, inf - inf
        mean = np.where(defined, values, 0).sum(axis, keepdims=True) / seeds
        squares = np.where(defined, values - mean, 0) ** 2
        variance = squares.sum(axis, keepdims=True) / np.maximum(seeds - 1, 1)
        spread = np.sqrt(np.where(seeds > 0, variance, np.nan))
    return mean.squeeze(axis), spread.squeeze(axis)


def _labelled(
    output: np.ndarray, target: np.ndarray, mask: np.ndarray, shape: tuple[int, ...]
) -> tuple[Float[np.ndarray, "n ..."], Float[np.ndarray, "n ..."]]:
    """The labelled samples in float64, after checking that they can be compared."""
    if np.shape(target) != shape or np.shape(mask) != shape[:1] or not shape:
        raise UserError(
            f"output {np.shape(output)}, target {np.shape(target)} and mask "
            f"{np.shape(mask)} do not match; expected output [n, ...], its target, and "
            "mask [n]"
        )
    if mask.dtype != bool:
        raise UserError(f"mask has dtype {mask.dtype}; expected bool: use mask > 0")
    output, target = output[mask].astype(float), target[mask].astype(float)
    if not np.isfinite(target).all():
        raise UserError(
            f"{(~np.isfinite(target)).sum()} labelled targets are not finite; "
            "set their mask to False"
        )
    return output, target


def _zero_one(target: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """0/1 labels as bools."""
    if not np.isin(target, (0, 1)).all():
        found = np.unique(target)[:5].tolist()
        raise UserError(f"labels of a yes/no task are {found}; expected 0 and 1")
    return target == 1


def _measurable(output: Float[np.ndarray, "..."]) -> bool:
    """Whether there is anything to measure, and all of it is a number."""
    return output.size > 0 and bool(np.isfinite(output).all())


def _relative_gains(
    values: npt.ArrayLike, baselines: npt.ArrayLike, higher_is_better: npt.ArrayLike
) -> Float[np.ndarray, " M"]:
    """Gains over the baseline in percent; above 0 is better whatever the metric."""
    values, baselines = np.asarray(values, float), np.asarray(baselines, float)
    higher = np.asarray(higher_is_better, bool)
    if values.ndim != 1 or not values.shape == baselines.shape == higher.shape:
        raise UserError(
            f"values {values.shape}, baselines {baselines.shape} and higher_is_better "
            f"{higher.shape} do not match; expected three rows of one length"
        )
    if (baselines == 0).any():
        raise UserError(
            f"the baseline of metric {np.flatnonzero(baselines == 0).tolist()} is 0, "
            "which has no relative change; leave that metric out"
        )
    return 100 * np.where(higher, 1, -1) * (values - baselines) / np.abs(baselines)


def _defined_mean(values: Float[np.ndarray, " n"]) -> float:
    """The mean of what is not nan; nan if nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
