"""Splits by sorted columns: exact, and linear in rows however many the segments are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.boosting.bins import Bins
from mtopt.boosting.columns import (
    Sorted,
    arrange,
    divide,
    quotient_and_rest,
    running_sums,
    segment_order,
    segment_sums,
    take,
    value_order,
)
from mtopt.boosting.splits import Split, centre, midpoint, split_at
from mtopt.linalg import divide_or_zero


class Cover(NamedTuple):
    """The weights on both sides of every candidate split, whatever the targets.

    Attributes:
      harmonic: 1/n_L + 1/n_R; 0 where there is no split.
      total: n of each segment.
    """

    harmonic: Float[Array, "L D M"]
    total: Float[Array, " S"]


def cover(columns: Sorted, weights: Float[Array, " N"]) -> Cover:
    """Weights and counts on both sides of every candidate."""
    both = jnp.stack([weights, (weights > 0).astype(weights.dtype)])
    total = segment_sums(columns, both)
    left = running_sums(columns, both)
    whole = take(total, slice(None), columns.segment).swapaxes(0, 1)
    right = whole[:, :, None] - left
    valid = columns.boundary & (left[:, 1] > 0) & (right[:, 1] > 0)

    def inverse(weight: Array) -> Array:
        return divide_or_zero(jnp.ones_like(weight), weight)

    harmonic = jnp.where(valid, inverse(left[:, 0]) + inverse(right[:, 0]), 0)
    return Cover(harmonic, total[0])


class SortedRows(NamedTuple):
    """Rows in the order of every column, by segment and value.

    Splits are found between values of ``highest``, which are the columns themselves or,
    of columns in bins, the end of the row's bin; a threshold is halfway from there to
    ``lowest``, the columns or where the row's bin begins.

    Attributes:
      columns: the features, :func:`~mtopt.boosting.columns.canonical`.
      lowest: of the values that a row is not told apart from.
      highest: of the same.
      order: the rows of every column by segment and value.
      segment: of each row.
      sorted: the order, arranged.
      weights: of the rows.
      cover: of the weights.
    """

    columns: Float[Array, "D N"]
    lowest: Float[Array, "D N"]
    highest: Float[Array, "D N"]
    order: Int[Array, "D N"]
    segment: Int[Array, " N"]
    sorted: Sorted
    weights: Float[Array, " N"]
    cover: Cover

    @classmethod
    def of(
        cls,
        columns: Float[Array, "D N"],
        segment: Int[Array, " N"],
        count: int,
        weights: Float[Array, " N"],
        bins: Bins | None,
    ) -> "SortedRows":
        """Sorts the rows of so many segments, by values or by bins."""
        lowest = highest = columns
        if bins is not None:
            lowest, highest = (
                jnp.take_along_axis(ends, bins.number, axis=1)
                for ends in (bins.lowest, bins.highest)
            )
        order = value_order(highest)
        if count > 1:
            order = segment_order(segment, count, order)
        arranged = arrange(highest, order, segment, count)
        found = cover(arranged, weights)
        return cls(columns, lowest, highest, order, segment, arranged, weights, found)

    def weighted(self, weights: Float[Array, " N"]) -> "SortedRows":
        """The rows with these weights."""
        return self._replace(weights=weights, cover=cover(self.sorted, weights))

    def divided(self, goes_right: Bool[Array, " N"]) -> "SortedRows":
        """Every segment s as segments 2 s and 2 s + 1, still in order."""
        order = divide(self.sorted, self.order, goes_right)
        segment = 2 * self.segment + goes_right
        count = 2 * len(self.cover.total)
        arranged = arrange(self.highest, order, segment, count)
        rows = self._replace(order=order, segment=segment, sorted=arranged)
        return rows.weighted(self.weights)

    def best_split(self, targets: Float[Array, "K N"]) -> Split:
        r"""The split of every segment that lowers the squared error most.

        .. math::
           \sum_k \frac{S_{Lk}^2}{n_L} + \frac{S_{Rk}^2}{n_R} - \frac{S_k^2}{n}
           = \Big( \frac{1}{n_L} + \frac{1}{n_R} \Big)
             \sum_k (S_{Lk} - n_L \bar r_k)^2

        The right side is what is computed: sums of targets around their mean do not
        cancel. Of equal gains the lowest feature wins, then the lowest threshold.
        """
        columns, weights, count = self.sorted, self.weights, len(self.cover.total)
        places, _, blocks = columns.order.shape
        size = places * blocks
        sums = segment_sums(columns, weights[None] * targets)
        centred = centre(self.segment, weights, targets, sums, self.cover.total)
        sums = running_sums(columns, weights[None] * centred.targets)
        gain = (sums**2).sum(axis=1) * self.cover.harmonic
        gain = jnp.where(self.cover.harmonic > 0, gain, -1)
        best = gain.max(axis=1)
        segment = columns.segment.reshape(size)
        top = jax.ops.segment_max(best.reshape(size), segment, count)
        splits = (top >= 0) & centred.vary

        # Which candidate reached it: the lowest feature, then the lowest position.
        feature = jnp.arange(gain.shape[1], dtype=jnp.int32)[None, :, None]
        feature = jnp.where(gain == best[:, None], feature, gain.shape[1]).min(axis=1)
        position = jnp.arange(size, dtype=jnp.int32).reshape(blocks, places).T
        number = jnp.where(
            best == take(top, columns.segment), feature * size + position, -1
        )
        number = jnp.where(number < 0, jnp.iinfo(jnp.int32).max, number)
        number = jax.ops.segment_min(number.reshape(size), segment, count)
        number = jnp.where(splits, number, 0)
        feature, position = quotient_and_rest(number, size)
        block, place = quotient_and_rest(position, places)
        row = take(columns.order, place, feature, block)

        # The threshold lies between the two nearest values that have weight.
        value = take(self.highest, feature, row)
        at = take(feature, self.segment), jnp.arange(size)
        lowest, highest = take(self.lowest, *at), take(self.highest, *at)
        active, below = weights > 0, highest <= take(value, self.segment)
        lower = jax.ops.segment_max(
            jnp.where(active & below, highest, -jnp.inf), self.segment, count
        )
        upper = -jax.ops.segment_max(
            jnp.where(active & ~below, -lowest, -jnp.inf), self.segment, count
        )
        threshold = jnp.where(splits, midpoint(lower, upper), jnp.inf)
        return split_at(self.columns, centred, feature, threshold)
