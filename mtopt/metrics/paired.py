"""How much one method differs from another over the same seeds, with an interval."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mtopt.errors import UserError


class Paired(NamedTuple):
    """A mean difference and where the true one lies.

    Attributes:
      mean: of the differences.
      low: the lower end of the interval.
      high: its upper end.
      pairs: how many differences it is over.
      p_value: how likely a mean at least as far from 0 is where the true one is 0.
    """

    mean: float
    low: float
    high: float
    pairs: int
    p_value: float


def paired_interval(values: npt.ArrayLike, others: npt.ArrayLike) -> Paired:
    r"""The mean difference over pairs, Student's 95 % interval of it, and its p-value.

    .. math:: \bar d \pm t_{n - 1} \, \frac{s_d}{\sqrt n}, \qquad d_i = x_i - y_i

    with s the standard deviation of the n differences (divisor n - 1). What a seed does
    to both alike, such as its split, its initial parameters and its batches, cancels:
    it finds smaller differences than the spreads of the two do. The p-value is that of
    the two-sided paired t-test, below 0.05 where the interval is without 0. One
    interval in twenty misses by chance; of many methods compared, some will, and their
    p-values want :func:`holm`.

    Args:
      values: x, ``[n]``, one number a seed.
      others: y, of the same seeds in the same order.

    Returns:
      The mean and the interval. Pairs of which either is nan are left out; without a
      pair the mean is nan, with fewer than two the ends and the p-value are.

    Raises:
      UserError: for arrays of unequal shapes.

    Example:
      >>> found = paired_interval([0.9, 0.8, 0.7], [0.88, 0.79, 0.67])
      >>> print(f"{found.mean:.3f} from {found.low:.3f} to {found.high:.3f}")
      0.020 from -0.005 to 0.045
      >>> print(f"{found.p_value:.3f}")
      0.074
    """
    from scipy.special import stdtr, stdtrit

    values, others = np.asarray(values, float), np.asarray(others, float)
    if values.ndim != 1 or values.shape != others.shape:
        raise UserError(
            f"values has shape {values.shape} and others {others.shape}: expected one "
            "number of each for every seed"
        )
    found = values - others
    found = found[~np.isnan(found)]
    if len(found) < 2:
        nan = float("nan")
        mean = float(found[0]) if len(found) else nan
        return Paired(mean, nan, nan, len(found), nan)
    mean = float(found.mean())
    error = found.std(ddof=1) / np.sqrt(len(found))
    half = float(stdtrit(len(found) - 1, 0.975) * error)
    with np.errstate(divide="ignore"):  # equal differences leave no doubt
        size = np.abs(mean) / error if mean else 0.0
    p_value = float(2 * stdtr(len(found) - 1, -size))
    return Paired(mean, mean - half, mean + half, len(found), p_value)
