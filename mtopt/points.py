"""Where the gradients that a method weighs were taken: at points, times factors.

Rows of the shared parameters are what a transformation made of them. The gradients of
the representation are never in the chain: this is how a transformation says what it
would make of them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

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
      sure: None where the rows are known to be of this point when the step is traced;
        ``[K]``, whether they are, where only the compiled program's numbers can say.
    """

    params: Any
    factor: Any = None
    shared_axis: int | None = dataclasses.field(default=None, metadata={"static": True})
    sure: Any = None

    def times(self, factor: Any) -> "Point":
        """The same gradients times a number of each task, ``[K]``."""
        own = factor if self.factor is None else self.factor * factor
        return dataclasses.replace(self, factor=own)

    def or_nan(self) -> "Point":
        """The same gradients, NaN for a task whose row turns out to be of no point."""
        if self.sure is None:
            return self
        sure = dataclasses.replace(self, sure=None)
        return sure.times(jnp.where(self.sure, 1.0, jnp.nan))


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


def if_equal(told: Any, rows: Any, points: Any) -> Any:
    """The points of rows that may have been changed since, as their numbers will say.

    Args:
      told: the rows that were taken there, leaves ``[K, ...]``.
      rows: the ones at hand, all leaves of ``told`` or some.
      points: of ``told``.
    """
    if not isinstance(points, tuple):
        return points
    equal = _equal_rows(told, rows)
    return tuple(dataclasses.replace(point, sure=equal) for point in points)


def _equal_rows(told: Any, rows: Any) -> Any:
    """Whether every task's row is the one that was told, ``[K]``; None of no leaves."""
    leaves = dict(jax.tree_util.tree_leaves_with_path(told))
    equal = None
    for path, leaf in jax.tree_util.tree_leaves_with_path(rows):
        own = leaves.get(path)
        if own is None or jnp.shape(own) != jnp.shape(leaf):
            return jnp.zeros(len(leaf), bool)
        same = (leaf == own) | (jnp.isnan(leaf) & jnp.isnan(own))
        same = same.reshape(len(leaf), -1).all(axis=1)
        equal = same if equal is None else equal & same
    return equal


def factor_of(points: Any) -> Any:
    """What the gradients at one point are multiplied by, ``[K]``; None: ones, or other.

    Args:
      points: of an evaluation.
    """
    if not isinstance(points, tuple) or len(points) != 1:
        return None
    (point,) = points
    if point.factor is None or point.sure is None:
        return point.factor
    return jnp.where(point.sure, point.factor, 1)


def only_point(points: Any) -> Point | None:
    """The one point at which the gradients of all tasks were surely taken, or None.

    Args:
      points: of an evaluation.
    """
    if not isinstance(points, tuple) or len(points) != 1:
        return None
    (point,) = points
    certain = point.sure is None and point.shared_axis is None
    return point if certain else None


def known_points(points: Any, reader: str) -> tuple[Point, ...]:
    """The points where gradients were taken.

    What cannot be refused when the step is traced is NaN in the compiled program.

    Args:
      points: of an evaluation.
      reader: what needs them, for the error.

    Raises:
      UserError: where they are not known.
    """
    if isinstance(points, tuple):
        return tuple(point.or_nan() for point in points)
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


def certain(weights: Any, points: Any) -> Any:
    """Weights that were solved for at these points, NaN where they turn out to be none.

    A solver may make finite numbers of gradients that are NaN.

    Args:
      weights: of the tasks, ``[K]``.
      points: of an evaluation.
    """
    for point in points if isinstance(points, tuple) else ():
        if point.sure is not None:
            weights = jnp.where(point.sure.all(), weights, jnp.nan)
    return weights


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
