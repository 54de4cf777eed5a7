"""Delta-m: relative gains of a multi-task model over single-task ones, in percent."""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from mtopt.errors import UserError


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

      Difference: ``|B|`` for B, as in `delta_m_per_metric`.
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
