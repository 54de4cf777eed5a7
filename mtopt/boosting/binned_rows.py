"""Splits by histograms: sums over the rows of every bin and segment, in any order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mtopt.boosting.bins import Bins, Packed, packed
from mtopt.boosting.columns import take
from mtopt.boosting.splits import Split, centre, midpoint, split_at
from mtopt.linalg import divide_or_zero

# A sum takes in its rows one by one: with more rows than this for each sum of a
# histogram, it is made in parts, so that its rounding does not grow with the rows.
ROWS_A_SUM = 4


class BinnedRows(NamedTuple):
    """Rows whose features are known by their bins.

    Attributes:
      columns: the features, :func:`~mtopt.boosting.columns.canonical`.
      bins: of the columns.
      packed: the same in fewer codes.
      segment: of each row.
      segments: how many, S.
      weights: of the rows.
    """

    columns: Float[Array, "D N"]
    bins: Bins
    packed: Packed
    segment: Int[Array, " N"]
    segments: int
    weights: Float[Array, " N"]

    @classmethod
    def of(
        cls,
        columns: Float[Array, "D N"],
        segment: Int[Array, " N"],
        count: int,
        weights: Float[Array, " N"],
        bins: Bins,
    ) -> "BinnedRows":
        """Packs the bins."""
        return cls(columns, bins, packed(bins), segment, count, weights)

    def weighted(self, weights: Float[Array, " N"]) -> "BinnedRows":
        """The rows with these weights."""
        return self._replace(weights=weights)

    def divided(self, goes_right: Bool[Array, " N"]) -> "BinnedRows":
        """Every segment s as segments 2 s and 2 s + 1."""
        return self._replace(
            segment=2 * self.segment + goes_right, segments=2 * self.segments
        )

    def best_split(self, targets: Float[Array, "K N"]) -> Split:
        """The split between two bins that lowers each segment's squared error most.

        The gain is that of :meth:`mtopt.boosting.sorted_rows.SortedRows.best_split`,
        and of equal ones the lowest feature wins, then the lowest threshold.
        """
        weights = self.weights[None]
        both = jnp.concatenate([weights, weights * targets]).T
        both = jax.ops.segment_sum(both, self.segment, self.segments).T
        centred = centre(self.segment, self.weights, targets, both[1:], both[0])
        values = jnp.concatenate([weights, weights * centred.targets])
        gain, below, above = _search(self._histograms(values), self.bins.used.max())
        splits = (gain.max(axis=0) >= 0) & centred.vary
        feature = jnp.where(splits, gain.argmax(axis=0).astype(jnp.int32), 0)
        at = feature, jnp.arange(self.segments)
        lower = take(self.bins.highest, feature, take(below, *at))
        upper = take(self.bins.lowest, feature, take(above, *at))
        threshold = jnp.where(splits, midpoint(lower, upper), jnp.inf)
        return split_at(self.columns, centred, feature, threshold)

    def _histograms(self, values: Float[Array, "C N"]) -> Float[Array, "B C D S"]:
        """The sums of the rows' values in every bin of every segment."""
        width = self.packed.digit.shape[1]
        channels, rows = values.shape
        sums = width * self.segments
        parts = max(1, rows // (ROWS_A_SUM * sums))
        part = jnp.arange(rows, dtype=jnp.int32)
        part = lax.rem(part, jnp.full_like(part, parts))

        def add(pack: Int[Array, ""], found: Float[Array, "D T C"]) -> Array:
            at = (part * width + self.packed.code[pack]) * self.segments + self.segment
            each = jnp.zeros((parts * sums, channels), values.dtype)
            each = each.at[at].add(values.T, mode="promise_in_bounds")
            return found.at[pack].set(each.reshape(parts, sums, channels).sum(axis=0))

        found = jnp.zeros((len(self.columns), sums, channels), values.dtype)
        found = lax.fori_loop(0, self.packed.packs, add, found)
        found = found.reshape(-1, width, self.segments * channels)

        def unpack(of: tuple[Int[Array, ""], Int[Array, " B"]]) -> Float[Array, "B M"]:
            pack, digit = of
            empty = jnp.zeros_like(found[0])
            return empty.at[digit].add(found[pack], mode="promise_in_bounds")

        found = lax.map(unpack, (self.packed.pack, self.packed.digit))
        found = found.reshape(-1, width, self.segments, channels)
        return found.transpose(1, 3, 0, 2)


def _search(
    sums: Float[Array, "B C D S"], bins: Int[Array, ""]
) -> tuple[Float[Array, "D S"], Int[Array, "D S"], Int[Array, "D S"]]:
    """The best gain in every column, and the bins on both sides of the split.

    Args:
      sums: of the weights, and of the targets around a mean, up to what it is rounded
        by, times the weights.
      bins: how many of a column's bins are used.

    Returns:
      The gain, -1 where there is no split; the last bin with rows on the left, and the
      first one on the right.
    """
    total = sums.sum(axis=0)
    mean = divide_or_zero(total[1:], total[:1])

    def inverse(weight: Float[Array, "D S"]) -> Float[Array, "D S"]:
        return divide_or_zero(jnp.ones_like(weight), weight)

    def go_on(number: Int[Array, ""], at: tuple[Array, ...]) -> tuple[Array, ...]:
        left, last, best, below, above = at
        here = sums[number]
        right = total[0] - left[0]
        apart = left[1:] - left[:1] * mean
        gain = (apart**2).sum(axis=0) * (inverse(left[0]) + inverse(right))
        seen = here[0] > 0
        better = seen & (last >= 0) & (right > 0) & (gain > best)
        return (
            left + here,
            jnp.where(seen, number, last),
            jnp.where(better, gain, best),
            jnp.where(better, last, below),
            jnp.where(better, number, above),
        )

    zero = jnp.zeros(total.shape[1:], jnp.int32)
    none = jnp.full(zero.shape, -1, sums.dtype)
    start = jnp.zeros_like(total), zero - 1, none, zero, zero
    _, _, best, below, above = lax.fori_loop(0, bins, go_on, start)
    return best, below, above
