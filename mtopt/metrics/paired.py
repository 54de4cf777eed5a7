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
    """

    mean: float
    low: float
    high: float
    pairs: int


def paired_interval(values: npt.ArrayLike, others: npt.ArrayLike) -> Paired:
    r"""The mean difference over pairs, and Student's 95 % interval of it.

    .. math:: \bar d \pm t_{n - 1} \, \frac{s_d}{\sqrt n}, \qquad d_i = x_i - y_i

    with s the standard deviation of the n differences (divisor n - 1). What a seed does
    to both alike, such as its split, its initial parameters and its batches, cancels:
    it finds smaller differences than the spreads of the two do. One interval in twenty
    misses by chance; of many methods compared, some will.

    Args:
      values: x, ``[n]``, one number a seed.
      others: y, of the same seeds in the same order.

    Returns:
      The mean and the interval. Pairs of which either is nan are left out; without a
      pair the mean is nan, with fewer than two the ends are.

    Raises:
      UserError: for arrays of unequal shapes.

    Example:
      >>> found = paired_interval([0.9, 0.8, 0.7], [0.88, 0.79, 0.67])
      >>> print(f"{found.mean:.3f} from {found.low:.3f} to {found.high:.3f}")
      0.020 from -0.005 to 0.045
    """
    from scipy.special import stdtrit

    values, others = np.asarray(values, float), np.asarray(others, float)
    if values.ndim != 1 or values.shape != others.shape:
        raise UserError(
            f"values has shape {values.shape} and others {others.shape}: expected one "
            "number of each for every seed"
        )
    found = values - others
    found = found[~np.isnan(found)]
    if len(found) < 2:
        mean = float(found[0]) if len(found) else float("nan")
        return Paired(mean, float("nan"), float("nan"), len(found))
    mean = float(found.mean())
    error = found.std(ddof=1) / np.sqrt(len(found))
    half = float(stdtrit(len(found) - 1, 0.975) * error)
    return Paired(mean, mean - half, mean + half, len(found))
