"""Ranks of methods, and whether they differ over many cases: Friedman, Nemenyi."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from mtopt.errors import UserError, expect


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


class Ranking(NamedTuple):
    """How methods rank over cases.

    Attributes:
      mean: the mean rank of every method; 1 is always best.
      cases: over how many.
      statistic: Friedman's.
      p_value: how likely so large a statistic is among methods that do not differ.
      critical_difference: of Nemenyi's test: mean ranks further apart than this differ
        at the 5 % level.
    """

    mean: Float[np.ndarray, " methods"]
    cases: int
    statistic: float
    p_value: float
    critical_difference: float


def ranking(values: npt.ArrayLike, higher_is_better: npt.ArrayLike) -> Ranking:
    r"""Compares M methods by their ranks r in N cases: data sets, or tasks.

    Friedman's statistic, with the correction for ties, follows a chi-squared
    distribution of M - 1 degrees of freedom where methods do not differ:

    .. math::
       \chi^2 = \frac{(M - 1) N^2 \sum_m (\bar r_m - (M + 1) / 2)^2}
                     {\sum_{m n} r_{mn}^2 - N M (M + 1)^2 / 4}

    Cases count as independent of each other.

    Args:
      values: a score of every method in every case, ``[M, N]``. Ties share the average
        of their ranks; nan ranks last.
      higher_is_better: N bools, one a case.

    Returns:
      The mean ranks and both tests.

    Raises:
      UserError: for fewer than two methods, or values of another shape.

    Example:
      >>> errors = [[1., 2., 1.], [2., 3., 1.], [3., 4., 2.]]
      >>> found = ranking(errors, [False] * 3)
      >>> found.mean.round(2).tolist(), round(found.p_value, 3)
      ([1.17, 1.83, 3.0], 0.06)

    References:
      Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7,
      2006.
    """
    from scipy.special import chdtrc

    each = ranks(values, higher_is_better)
    mean = each.mean(axis=1)
    methods, cases = each.shape
    limit = critical_difference(methods, cases)
    spread = (each**2).sum() - cases * methods * (methods + 1) ** 2 / 4
    between = (methods - 1) * cases**2 * ((mean - (methods + 1) / 2) ** 2).sum()
    statistic = float(between / spread) if spread > 0 else 0.0  # 0: ties everywhere
    p_value = float(chdtrc(methods - 1, statistic))
    return Ranking(mean, cases, statistic, p_value, limit)


def critical_difference(num_methods: int, num_cases: int) -> float:
    r"""The difference of mean ranks that is significant by Nemenyi's test, at 5 %.

    .. math::
       CD = q \sqrt{M (M + 1) / 6 N}

    with q the 95 % quantile of the studentized range over sqrt(2).

    Args:
      num_methods: M, at least 2.
      num_cases: N, at least 1.

    Raises:
      UserError: for fewer.

    Example:
      >>> round(critical_difference(3, 849), 3)
      0.114
    """
    from scipy.stats import studentized_range

    expect(num_methods >= 2, "num_methods", num_methods, "2 at least, to compare")
    expect(num_cases >= 1, "num_cases", num_cases, "1 at least")
    quantile = studentized_range.ppf(0.95, num_methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(num_methods * (num_methods + 1) / (6 * num_cases)))
