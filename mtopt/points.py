"""Where the gradients that a method weighs were taken: at points, times factors.

Rows of the shared parameters are what a transformation made of them. The gradients of
the representation are never in the chain: this is how a transformation says what it
would make of them.
"""

import dataclasses
from typing import Any

import jax

from mtopt.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Point:
    r"""One term of the gradients, those of the problem's losses at a point.

    .. math:: g_k = \sum_i c_k^i\, \nabla L_k(\theta_k^i)

    is the sum over the points of an evaluation, with the gradient with respect to the
    shared parameters in its rows, and with respect to the representation where a
    method works in that space.

    Attributes:
      params: :math:`\theta^i`, ``{"shared": ..., "tasks": ...}``.
      factor: :math:`c^i`, ``[K]``; None: ones.
      shared_axis: None if the tasks share ``params["shared"]``; 0 if each has a copy of
        its own, ``[K, ...]``, as per-task perturbations make.
    """

    params: Any
    factor: Any = None
    shared_axis: int | None = dataclasses.field(default=None, metadata={"static": True})

    def times(self, factor: Any) -> "Point":
        """The same gradients times a number of each task, ``[K]``."""
        own = factor if self.factor is None else self.factor * factor
        return dataclasses.replace(self, factor=own)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Nowhere:
    """In place of points: gradients that are those of the losses at no point.

    A running mean over steps is an example.

    Attributes:
      made_by: what changed them, for the error.
    """

    made_by: str


def times(factor: Any, points: Any) -> Any:
    """The points of the same gradients, each task's times a number, ``[K]``.

    Args:
      factor: one number per task, ``[K]``.
      points: of an evaluation.
    """
    if not isinstance(points, tuple):
        return points
    return tuple(point.times(factor) for point in points)


def factor_of(points: Any) -> Any:
    """What the gradients at one point are multiplied by, ``[K]``; None: ones, or other.

    Args:
      points: of an evaluation.
    """
    return points[0].factor if isinstance(points, tuple) and len(points) == 1 else None


def known_points(points: Any, reader: str) -> tuple[Point, ...]:
    """The points where gradients were taken.

    Args:
      points: of an evaluation.
      reader: what needs them, for the error.

    Raises:
      UserError: where they are not known.
    """
    if isinstance(points, tuple):
        return points
    if points is None:
        raise UserError(
            f"{reader} reads where the gradients were taken, and the update was not "
            "told: hand it evaluation=problem.evaluate(params)"
        )
    raise UserError(
        f"{reader} reads where the gradients were taken, and {points.made_by} made "
        "something of them that the losses have at no point: expected the one without "
        "the other, or space='parameters'"
    )


def one_point(points: Any, reader: str) -> Point:
    """The point where all gradients were taken, the same for every task.

    Args:
      points: of an evaluation.
      reader: what needs it, for the error.

    Raises:
      UserError: where there is no such.
    """
    first, *others = known_points(points, reader)
    if others or first.shared_axis is not None:
        raise UserError(
            f"{reader} takes the gradients of all tasks at one point, and each task's "
            "were taken at another, as per_task_sam does: expected the one without the "
            "other"
        )
    return first
