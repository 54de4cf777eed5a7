"""How one way of training stands to another over the same seeds, by any metric."""

import math

import numpy as np

from mtopt.metrics import Metric, Paired, paired_interval

from .paired import with_interval

MEANING = (
    "over the same seeds, with its 95 % interval: of an error the ratio (below 1 is "
    "better), of a score the difference in points (above 0 is better)."
)
"""What stands in the column, for a legend."""


def against(values: np.ndarray, others: np.ndarray, metric: Metric) -> Paired:
    """How far numbers are from others of the same seeds.

    Args:
      values: of a metric, one number a seed, ``[S]``.
      others: of the same seeds in the same order.
      metric: of a score, which has a best value of 1, the difference is in points; of
        an error in whatever unit it is the ratio, whose interval is that of the mean of
        logarithms.

    Example:
      >>> from mtopt.metrics import metrics_of
      >>> rmse = metrics_of("regression")[0]
      >>> round(against(np.array([1.0, 4.0]), np.array([2.0, 2.0]), rmse).mean, 9)
      1.0
      >>> auc = metrics_of("binary")[0]
      >>> round(against(np.array([0.6, 0.8]), np.array([0.5, 0.5]), auc).mean, 9)
      20.0
    """
    if metric.higher_is_better:
        return paired_interval(100 * values, 100 * others)
    found = paired_interval(np.log(values), np.log(others))
    mean, low, high = np.exp(found[:3]).tolist()
    return found._replace(mean=mean, low=low, high=high)


def against_text(found: Paired, metric: Metric) -> str:
    """The mean, and its interval where there is one: one seed has none.

    Args:
      found: what :func:`against` found.
      metric: of the numbers.

    Example:
      >>> from mtopt.metrics import metrics_of
      >>> against_text(Paired(0.5, 0.25, 1.0, 3, 0.2), metrics_of("regression")[0])
      '0.50 [0.25, 1.00]'
    """
    if metric.higher_is_better or math.isnan(found.mean):
        return with_interval(found, 2)
    mean, low, high = (f"{value:.2f}" for value in found[:3])
    return mean if math.isnan(found.low) else f"{mean} [{low}, {high}]"
