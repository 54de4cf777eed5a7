"""Numbers of a method by its seeds, so that only like is compared with like."""

from collections.abc import Iterable

import numpy as np

from .results import MethodResult

Seeds = dict[int, float]
"""One number a seed; nan where it is undefined."""


def by_seed(result: MethodResult, values: Iterable[float]) -> Seeds:
    """Numbers of a method, one a seed in the order of its arrays."""
    return dict(zip(result.seeds, map(float, values), strict=True))


def in_common(one: Seeds, other: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the seeds that both have, in the same order.

    Example:
      >>> one, other = in_common({0: 0.5, 1: 0.75}, {1: 0.25, 2: 1.0, 0: 2.0})
      >>> one.tolist(), other.tolist()
      ([0.5, 0.75], [2.0, 0.25])
    """
    common = sorted(one.keys() & other.keys())
    return (
        np.array([one[seed] for seed in common], float),
        np.array([other[seed] for seed in common], float),
    )
