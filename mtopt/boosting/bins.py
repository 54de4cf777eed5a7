"""Columns in bins: values of a column, or equal shares of its rows, numbered from 0.

Columns of few bins are packed: those whose numbers of bins multiply to no more than one
column may have share a code, of which each column's bin is a digit. One pass over the
rows then counts for all of them. The one-hot columns of a category, of two bins each,
go eight to a code.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mtopt.boosting.columns import value_order


class Bins(NamedTuple):
    """The bin of every value that has weight. Values between two bins belong to either.

    Attributes:
      number: of each row's bin in every column; anything for a row without weight.
      used: how many bins each column has, at least 1.
      lowest: the least value in each bin; infinity where there is no such bin.
      highest: the largest one; minus infinity.
    """

    number: Int[Array, "D N"]
    used: Int[Array, " D"]
    lowest: Float[Array, "D B"]
    highest: Float[Array, "D B"]


class Packed(NamedTuple):
    """Bins of several columns in one code.

    Attributes:
      code: of each row in every pack.
      packs: how many there are; codes of others are not used.
      pack: that each column is in.
      digit: the bin of each column for each code of its pack.
    """

    code: Int[Array, "D N"]
    packs: Int[Array, ""]
    pack: Int[Array, " D"]
    digit: Int[Array, "D B"]


def bins_of(
    columns: Float[Array, "D N"], weights: Float[Array, " N"], max_bins: int
) -> Bins:
    """A bin a value in columns of few values, bins of about equal weight in others.

    Edge k of a column in equal shares lies behind the smallest value with the k-th of
    ``max_bins`` shares of the weight at or below it. Minus infinity, which a missing
    value is, has a bin of its own besides.

    Args:
      columns: of :func:`mtopt.boosting.columns.canonical`.
      weights: of the rows; those of weight 0 make no bin.
      max_bins: numbers a column is told apart in, at least 2.

    Returns:
      The bins, B being ``max_bins + 1``.
    """
    # The largest of canonical columns is finite: rows without weight come last.
    columns = jnp.where(weights > 0, columns, jnp.inf)
    order = value_order(columns)
    value = jnp.take_along_axis(columns, order, axis=1)
    seen, missing = value < jnp.inf, value == -jnp.inf
    weight = jnp.where(missing, 0, weights[order])
    upto = jnp.cumsum(weight, axis=1)
    before = jnp.full_like(value[:, :1], -jnp.inf)
    fresh = value != jnp.concatenate([before, value[:, :-1]], axis=1)
    fresh = fresh.at[:, 0].set(True)
    # Weight below a value, the same in all rows that have it.
    below = lax.cummax(jnp.where(fresh, upto - weight, 0), axis=1)
    share = jnp.floor(below / jnp.maximum(upto[:, -1:], 1e-38) * max_bins)
    share = jnp.where(missing, -1, jnp.minimum(share, max_bins - 1))
    # What stands before the first value is in no share.
    ends = jnp.full_like(share[:, :1], -2)
    another = share != jnp.concatenate([ends, share[:, :-1]], axis=1)
    values = (fresh & seen & ~missing).sum(axis=1, keepdims=True)
    opens = jnp.where(values <= max_bins, fresh, another) & seen
    number = jnp.maximum(jnp.cumsum(opens, axis=1, dtype=jnp.int32) - 1, 0)
    feature = lax.broadcasted_iota(jnp.int32, number.shape, 0)
    empty = jnp.full((len(columns), max_bins + 1), jnp.inf, value.dtype)
    lowest = empty.at[feature, number].min(value)
    highest = (-empty).at[feature, number].max(jnp.where(seen, value, -jnp.inf))
    return Bins(
        number=jnp.zeros_like(number).at[feature, order].set(number),
        used=number[:, -1] + 1,
        lowest=lowest,
        highest=highest,
    )


def packed(bins: Bins) -> Packed:
    """Packs columns, those of few bins first, until a code is full."""
    width = bins.lowest.shape[1]

    def place(
        at: tuple[Int[Array, ""], Int[Array, ""]], count: Int[Array, ""]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        pack, codes = at
        full = codes * count > width
        pack, unit = pack + full, jnp.where(full, 1, codes)
        return (pack, unit * count), (pack, unit)

    by_used = jnp.argsort(bins.used).astype(jnp.int32)
    start = jnp.int32(0), jnp.int32(1)
    (last, _), found = lax.scan(place, start, bins.used[by_used])
    pack, unit = (jnp.zeros_like(by_used).at[by_used].set(part) for part in found)
    code = jnp.zeros_like(bins.number).at[pack].add(bins.number * unit[:, None])
    digit = lax.broadcasted_iota(jnp.int32, bins.lowest.shape, 1) // unit[:, None]
    return Packed(code, last + 1, pack, digit % bins.used[:, None])
