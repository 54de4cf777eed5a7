"""Whether methods differ over many cases: mean ranks, Friedman's test, Nemenyi's."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from mtopt.errors import expect
from mtopt.metrics import ranks


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
