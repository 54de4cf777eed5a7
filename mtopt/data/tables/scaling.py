"""Standardised inputs and targets, with statistics of the training part alone."""

import numpy as np

CLIP = 10.0


def standardise(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1 over the training rows.

    A missing value (NaN or infinite) becomes the training mean, which is 0; a column
    that is constant in training, or has no value there, becomes 0 everywhere. Values
    beyond 10 standard deviations are clipped to that: a single molecule's descriptor
    of 1e5 would otherwise drown the rest.

    Args:
      x: ``[N, D]``.
      train: True for training rows, ``[N]``.

    Returns:
      float32 ``[N, D]``, finite.

    Example:
      >>> x = np.array([[0., 5.], [2., 5.], [np.nan, 7.]])
      >>> standardise(x, np.array([True, True, False])).tolist()
      [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """
    mean, std = moments(x[train])
    finite = np.isfinite(x)
    scale = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    scaled = (np.where(finite, x, mean) - mean) * scale
    return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the finite values of each column, in float64.

    Args:
      values: ``[N, D]``.

    Returns:
      The mean ``[D]``, 0 where there is no value; the standard deviation ``[D]``, 0
      for a constant column (up to the rounding of its own values).
    """
    finite = np.isfinite(values)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, values, 0).sum(axis=0, dtype=np.float64) / count
    deviation = np.where(finite, values - mean, 0)
    std = np.sqrt((deviation**2).sum(axis=0, dtype=np.float64) / count)
    rounding = np.finfo(np.float32).eps * np.abs(mean)
    return mean, np.where(std > rounding, std, 0)
