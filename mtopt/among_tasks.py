"""Sums and order over the axis of tasks, task after task.

XLA:CPU takes 20 times as long for a reduction over a leading axis, and 80 for a sort
along it, as for the same arithmetic written out, which it turns into one loop over the
coordinates.
"""

import functools
import operator

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Tasks whose arithmetic is written out: that of more would take long to compile.
FEW = 64
# On each side, what is left out by search; more are found by sorting.
SEARCHED = 4


def sum_over_tasks(rows: Float[Array, "K ..."]) -> Float[Array, "..."]:
    """The sum over the leading axis.

    Args:
      rows: ``[K, ...]``.

    Example:
      >>> sum_over_tasks(jnp.array([[1., 2.], [3., 4.]])).tolist()
      [4.0, 6.0]
    """
    if len(rows) > FEW:
        return rows.sum(axis=0)
    return functools.reduce(operator.add, list(rows))


def in_the_middle(
    rows: Float[Array, "K ..."], present: Bool[Array, " K"], trimmed: Array, most: int
) -> Bool[Array, "K ..."]:
    """Which entries are neither among the largest nor among the smallest of the tasks.

    Of equal entries that of the earlier task counts as the smaller one; NaN counts as
    infinite.

    Args:
      rows: ``[K, ...]``.
      present: which tasks take part, ``[K]``; the entries of others are in no middle.
      trimmed: how many are left out on each side, at most ``most``.
      most: a plain number that is no less; K where it is not known.

    Example:
      >>> rows = jnp.array([[1., 9.], [2., 9.], [3., 0.]])
      >>> in_the_middle(rows, jnp.ones(3, bool), jnp.array(1), 1).tolist()
      [[False, True], [True, False], [False, False]]
    """
    rows = jnp.where(jnp.isnan(rows), jnp.inf, rows)
    if len(rows) > FEW or most > SEARCHED:
        return _by_sorting(rows, present, trimmed)
    kept = [jnp.broadcast_to(here, rows.shape[1:]) for here in present]
    for side in (operator.lt, operator.ge):  # the smallest, then the largest
        for count in range(most):
            place = _most_extreme(list(rows), kept, side)
            due = count < trimmed
            kept = [own & ~(due & (place == k)) for k, own in enumerate(kept)]
    return jnp.stack(kept)


def _most_extreme(rows: list[Array], kept: list[Array], side: object) -> Array:
    """The task with the most extreme entry of those that are kept, -1 where none is."""
    best, place = rows[0], jnp.where(kept[0], 0, -1)
    for k in range(1, len(rows)):
        better = kept[k] & ((place < 0) | side(rows[k], best))  # pyright: ignore
        best = jnp.where(better, rows[k], best)
        place = jnp.where(better, k, place)
    return place


def _by_sorting(rows: Array, present: Bool[Array, " K"], trimmed: Array) -> Array:
    here = present.reshape(-1, *(1,) * (rows.ndim - 1))
    # Absent tasks come last, behind what is infinite.
    order = jnp.lexsort((rows, jnp.broadcast_to(~here, rows.shape)), axis=0)
    rank = jnp.argsort(order, axis=0)
    return here & (rank >= trimmed) & (rank < present.sum() - trimmed)
