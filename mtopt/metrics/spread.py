"""Mean and standard deviation over seeds."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float


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
