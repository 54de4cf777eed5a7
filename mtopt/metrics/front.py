"""Fronts: points that no other one beats, and the area that two objectives leave."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool

from mtopt.errors import UserError


def nondominated(
    points: npt.ArrayLike, higher_is_better: npt.ArrayLike
) -> Bool[np.ndarray, " N"]:
    """Which points are on the front: no other is as good in all, and better in one.

    Args:
      points: the objectives ``[N, M]``.
      higher_is_better: M bools.

    Returns:
      A bool a point. Copies of a point on the front are all on it; a point with a nan
      is not, and does not keep others from it.

    Raises:
      UserError: if ``points`` is not a table of M columns.

    Example:
      >>> nondominated([[0.9, 3.0], [0.8, 2.0], [0.8, 3.0]], [True, False]).tolist()
      [True, True, False]
    """
    cost = _costs(points, higher_is_better)
    no_worse = (cost[:, None] <= cost[None]).all(axis=2)
    better = (cost[:, None] < cost[None]).any(axis=2)
    beaten = (no_worse & better).any(axis=0) | np.isnan(cost).any(axis=1)
    return np.logical_not(beaten)


def hypervolume(
    points: npt.ArrayLike, reference: npt.ArrayLike, higher_is_better: npt.ArrayLike
) -> float:
    """The area between a reference and the front of points with two objectives.

    Args:
      points: the objectives ``[N, 2]``, in their own units. A point that is not better
        than the reference in both adds 0, as does one with a nan.
      reference: ``[2]`` of the same units. No default is made of the data: it could
        favour the worse set.
      higher_is_better: 2 bools.

    Returns:
      The area, 0 or more. LARGER is better.

    Raises:
      UserError: if ``points`` is not a table of two columns, or the reference not two
        numbers.

    Example:
      >>> hypervolume([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [2.0, 2.0], [False, False])
      3.0
      >>> hypervolume([[0.9, 3.0]], [0.5, 5.0], [True, False])
      0.8

    Source:
      Zitzler and Thiele, "Multiobjective Optimization Using Evolutionary Algorithms: A
      Comparative Case Study", PPSN V, 1998.
    """
    limit = _costs(np.asarray(reference, float)[None], higher_is_better)[0]
    cost = _costs(points, higher_is_better)
    if cost.shape[1] != 2:
        raise UserError(
            f"points has shape {cost.shape}: expected two objectives, [points, 2]"
        )
    inside = cost[(cost < limit).all(axis=1)]
    area, ceiling = 0.0, limit[1]
    for first, second in inside[np.lexsort(inside.T[::-1])]:
        area += (limit[0] - first) * max(ceiling - second, 0)
        ceiling = min(ceiling, second)
    return float(area)


def _costs(points: npt.ArrayLike, higher_is_better: npt.ArrayLike) -> np.ndarray:
    """The objectives, turned so that less is better in all."""
    points, higher = np.asarray(points, float), np.asarray(higher_is_better, bool)
    if points.ndim != 2 or points.shape[1:] != higher.shape:
        raise UserError(
            f"points has shape {points.shape} and higher_is_better {higher.shape}; "
            "expected [points, objectives] and [objectives]"
        )
    return np.where(higher, -points, points)
