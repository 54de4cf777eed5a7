"""Sums and order over the axis of tasks, task after task.

XLA:CPU takes 2 to 30 times as long for a reduction over a leading axis, of 40 tasks and
of 8, and 40 to 65 for a sort along it, as for the same task by task. Of few tasks that
is written out, and becomes one loop over the coordinates; so is what is made of every
task afterwards, or the loop would begin anew for each of them.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Tasks whose arithmetic is written out; that of more is a loop, which compiles as fast.
FEW = 8
# Entries of a parameter from which on a weighted sum of few is: smaller ones compile
# faster as a product.
LONG = 2**18
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
    return _fold(lambda total, _, row: total + row, jnp.zeros_like(rows[0]), rows)


def task_by_task(function: Callable[..., Array], *arrays: Array) -> Array:
    """Maps a function of one task over the leading axis, as ``jax.vmap`` does.

    Args:
      function: of one task's entry of every array.
      arrays: ``[K, ...]``.

    Example:
      >>> rows = jnp.array([[1., 2.], [3., 4.]])
      >>> task_by_task(jnp.multiply, jnp.arange(2.), rows).tolist()
      [[0.0, 0.0], [3.0, 4.0]]
    """
    count = len(arrays[0])
    if count > FEW:
        return jax.vmap(function)(*arrays)
    entry = functools.partial(jax.lax.index_in_dim, keepdims=False)
    return jnp.stack(
        [function(*(entry(each, k) for each in arrays)) for k in range(count)]
    )


def weighted_sum(
    weights: Float[Array, " K"], rows: Float[Array, "K ..."]
) -> Float[Array, "..."]:
    """``sum_k w_k g_k`` in one loop with what makes the rows, which are not written.

    Args:
      weights: ``[K]``.
      rows: ``[K, ...]``.

    Example:
      >>> weighted_sum(jnp.array([2., 1.]), jnp.array([[1., 2.], [3., 4.]])).tolist()
      [5.0, 8.0]
    """
    wide = jnp.promote_types(rows.dtype, jnp.float32)

    def term(weight: Array, row: Array) -> Array:
        return weight.astype(wide) * row.astype(wide)

    return sum_over_tasks(task_by_task(term, weights, rows)).astype(rows.dtype)


def the_middle(
    rows: Float[Array, "K ..."], present: Bool[Array, " K"], trimmed: Array, most: int
) -> Float[Array, "K ..."]:
    """The entries that are neither the largest nor the smallest of the tasks; else 0.

    Of equal entries that of the earlier task counts as the smaller one; NaN counts as
    infinite.

    Args:
      rows: ``[K, ...]``.
      present: which tasks take part, ``[K]``; the entries of others are in no middle.
      trimmed: how many are left out on each side, at most ``most``.
      most: a plain number that is no less; K where it is not known.

    Example:
      >>> rows = jnp.array([[1., 9.], [2., 9.], [3., 0.]])
      >>> the_middle(rows, jnp.ones(3, bool), jnp.array(1), 1).tolist()
      [[0.0, 9.0], [2.0, 0.0], [0.0, 0.0]]
    """
    ordered = jnp.where(jnp.isnan(rows), jnp.inf, rows)
    if most > SEARCHED:
        return jnp.where(_by_sorting(ordered, present, trimmed), rows, 0)
    out: list[Array] = []  # the places of what is left out
    for side in (operator.lt, operator.ge):  # the smallest, then the largest
        for count in range(most):
            place = _most_extreme(ordered, present, out, side)
            out.append(jnp.where(count < trimmed, place, -1))

    def kept(k: Array, here: Array, row: Array) -> Array:
        middle = functools.reduce(lambda some, place: some & (place != k), out, here)
        return jnp.where(middle, row, 0)

    return task_by_task(kept, jnp.arange(len(rows)), present, rows)


def _most_extreme(
    rows: Array,
    present: Array,
    out: list[Array],
    side: Callable[[Array, Array], Array],
) -> Array:
    """The task with the most extreme entry that is not out, -1 where none is."""

    def search(found: tuple[Array, Array], k: Any, row: Array) -> tuple[Array, Array]:
        best, place = found
        free = functools.reduce(lambda free, each: free & (each != k), out, present[k])
        better = free & ((place < 0) | side(row, best))
        return jnp.where(better, row, best), jnp.where(better, k, place)

    nobody = jnp.full(rows.shape[1:], -1)
    return _fold(search, (rows[0], nobody), rows)[1]


def _fold(step: Callable[[Any, Any, Array], Any], start: Any, rows: Array) -> Any:
    """``step(carry, k, row)`` for every task k, one after the other."""
    if len(rows) <= FEW:
        for k in range(len(rows)):
            start = step(start, k, rows[k])
        return start
    return jax.lax.fori_loop(
        0, len(rows), lambda k, carry: step(carry, k, rows[k]), start
    )


def _by_sorting(rows: Array, present: Bool[Array, " K"], trimmed: Array) -> Array:
    here = present.reshape(-1, *(1,) * (rows.ndim - 1))
    # Absent tasks come last, behind what is infinite.
    order = jnp.lexsort((rows, jnp.broadcast_to(~here, rows.shape)), axis=0)
    rank = jnp.argsort(order, axis=0)
    return here & (rank >= trimmed) & (rank < present.sum() - trimmed)
