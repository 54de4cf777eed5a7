"""Standardised inputs and targets, with statistics of the training part alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CLIP = 10.0


class Scaling(NamedTuple):
    """What columns of numbers lose: a mean, and a standard deviation, each its own.

    A missing value (NaN or infinite) becomes the mean, which is 0; a column that is
    constant in training, or has no value there, becomes 0 everywhere. Values beyond 10
    standard deviations are clipped to that: a single molecule's descriptor of 1e5 would
    otherwise drown the rest.

    Attributes:
      mean: float64 ``[D]``.
      std: float64 ``[D]``; 0 for a constant column.

    Example:
      >>> x = np.array([[0., 5.], [2., 5.], [np.nan, 7.]])
      >>> Scaling.of(x[:2])(x).tolist()
      [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray) -> "Scaling":
        """That of the training rows, ``[N, D]``."""
        return cls(*moments(train))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Rows ``[N, D]`` brought to scale, float32 and finite."""
        finite = np.isfinite(x)
        scale = np.divide(1, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        scaled = (np.where(finite, x, self.mean) - self.mean) * scale
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the finite values of each column, in float64.

    Args:
      values: ``[N, D]``.

    Returns:
      The mean ``[D]``, 0 where there is no value; the standard deviation ``[D]``, 0
      for a constant column, see :func:`resolved`.
    """
    finite = np.isfinite(values)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, values, 0).sum(axis=0, dtype=np.float64) / count
    deviation = np.where(finite, values - mean, 0)
    std = np.sqrt((deviation**2).sum(axis=0, dtype=np.float64) / count)
    least = np.where(finite, values, np.inf).min(axis=0, initial=np.inf)
    most = np.where(finite, values, -np.inf).max(axis=0, initial=-np.inf)
    return mean, np.where(resolved(least, most, values.dtype), std, 0)


def target_moments(
    labels: Sequence[np.ndarray], common_units: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What the targets of a regression are shifted and divided by, of K tasks.

    Args:
      labels: the training labels of each task, ``[n_k]``.
      common_units: all tasks share one mean and one deviation, those of all labels
        together; otherwise each has its own. A task whose labels are all equal, or that
        has none, has no deviation: it takes the median of the others'.

    Returns:
      Mean ``[K]`` and deviation ``[K]``, above 0.

    Example:
      >>> one, other, constant = np.array([0., 2.]), np.array([0., 6.]), np.ones(3)
      >>> mean, std = target_moments([one, other, constant])
      >>> mean.tolist(), std.tolist()
      ([1.0, 3.0, 1.0], [1.0, 3.0, 2.0])
    """
    if common_units:
        labels = [np.concatenate(labels)] * len(labels)
    mean, std = np.concatenate([moments(y[:, None]) for y in labels], axis=1)
    return mean, np.where(std > 0, std, np.median(std[std > 0]) if std.any() else 1)


def resolved(least: np.ndarray, most: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whether values differ by more than the rounding of their own type.

    They do where the greatest and the least one are further apart than the type's
    epsilon times the larger of their sizes; integers count as float64, in which they
    are scaled. That is the one rule by which a column, or a task's targets, are
    constant: a time in nanoseconds is not, a float32 column that went through a sum in
    another order is.

    Args:
      least: the least finite value, infinite where there is none.
      most: the greatest one.
      dtype: what the values are stored in.

    Returns:
      False for what is constant, in the shape of ``least``.

    Example:
      >>> nanoseconds = np.array([17 * 10**17]), np.array([17 * 10**17 + 10**9])
      >>> [resolved(*nanoseconds, np.dtype(t)).item() for t in ("int64", "float32")]
      [True, False]
    """
    epsilon = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    size = np.maximum(np.abs(least), np.abs(most))
    known = np.isfinite(size)
    apart = np.subtract(most, least, out=np.zeros(known.shape), where=known)
    return known & (apart > epsilon * np.where(known, size, 0))
