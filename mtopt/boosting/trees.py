"""Regression trees by exact splits, all segments' trees at once."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.boosting.columns import (
    Sorted,
    arrange,
    divide,
    quotient_and_rest,
    running_sums,
    segment_sums,
    take,
)
from mtopt.linalg import divide_or_zero

# A node whose targets vary less is a leaf, as in scikit-learn.
LEAST_VARIANCE = 2.2e-16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trees:
    """Complete binary trees as arrays: node j has the children 2 j + 1 and 2 j + 2.

    A row goes left where ``x <= threshold``. A node that is not split has the threshold
    infinity, and its right side is zero.

    Attributes:
      feature: of every inner node of S segments (1, or the tasks), ``[..., S, J]``.
      threshold: of every inner node, ``[..., S, J]``, float32.
      value: of every leaf and output, ``[..., S, J + 1, K]``.
    """

    feature: Any
    threshold: Any
    value: Any


class Rows(NamedTuple):
    """The rows that trees are grown on: features, their order, and segments.

    Attributes:
      columns: the features, :func:`~mtopt.boosting.columns.canonical`.
      order: the rows of every column by segment and value.
      segment: of each row.
      sorted: the order, arranged.
    """

    columns: Float[Array, "D N"]
    order: Int[Array, "D N"]
    segment: Int[Array, " N"]
    sorted: Sorted


class Cover(NamedTuple):
    """The weights on both sides of every candidate split, whatever the targets.

    Attributes:
      harmonic: 1/n_L + 1/n_R; 0 where there is no split.
      total: n of each segment.
    """

    harmonic: Float[Array, "L D M"]
    total: Float[Array, " S"]


class Split(NamedTuple):
    """The best split of every segment, and which rows go right."""

    feature: Int[Array, " S"]
    threshold: Float[Array, " S"]
    left: Float[Array, "K S"]
    right: Float[Array, "K S"]
    goes_right: Bool[Array, " N"]


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


def best_split(
    rows: Rows,
    weights: Float[Array, " N"],
    targets: Float[Array, "K N"],
    covered: Cover,
) -> Split:
    r"""The split of every segment that lowers the squared error most.

    .. math::
       \sum_k \frac{S_{Lk}^2}{n_L} + \frac{S_{Rk}^2}{n_R} - \frac{S_k^2}{n}
       = \Big( \frac{1}{n_L} + \frac{1}{n_R} \Big) \sum_k (S_{Lk} - n_L \bar r_k)^2

    The right side is what is computed: sums of targets around their mean do not cancel.
    Of equal gains the lowest feature wins, then the lowest threshold.
    """
    columns, count = rows.sorted, len(covered.total)
    places, _, blocks = columns.order.shape
    size = places * blocks
    mean = divide_or_zero(
        segment_sums(columns, weights[None] * targets), covered.total[None]
    )
    centred = targets - take(mean, slice(None), rows.segment)
    spread = (weights[None] * centred**2).mean(axis=0)
    spread = jax.ops.segment_sum(spread, rows.segment, count)
    sums = running_sums(columns, weights[None] * centred)
    gain = jnp.where(covered.harmonic > 0, (sums**2).sum(axis=1) * covered.harmonic, -1)
    best = gain.max(axis=1)
    segment = columns.segment.reshape(size)
    top = jax.ops.segment_max(best.reshape(size), segment, count)
    splits = (top >= 0) & (spread > LEAST_VARIANCE * covered.total)

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
    value = take(rows.columns, feature, row)
    x = take(rows.columns, take(feature, rows.segment), jnp.arange(size))
    active, below = weights > 0, x <= take(value, rows.segment)
    lower = jax.ops.segment_max(
        jnp.where(active & below, x, -jnp.inf), rows.segment, count
    )
    upper = -jax.ops.segment_max(
        jnp.where(active & ~below, -x, -jnp.inf), rows.segment, count
    )
    threshold = jnp.where(splits, midpoint(lower, upper), jnp.inf)
    goes_right = x > take(threshold, rows.segment)

    # A leaf's own rows alone: few of them must not inherit the rounding of many.
    own = jnp.concatenate([weights[None] * centred, weights[None]]).T
    own = jax.ops.segment_sum(own, 2 * rows.segment + goes_right, 2 * count).T
    offset = divide_or_zero(own[:-1], own[-1:]).reshape(-1, count, 2)
    right = jnp.where(splits[None], mean + offset[..., 1], 0)
    return Split(feature, threshold, mean + offset[..., 0], right, goes_right)


def grow(
    rows: Rows,
    weights: Float[Array, " N"],
    targets: Float[Array, "K N"],
    covered: Cover,
    depth: int,
) -> tuple[Trees, Float[Array, "K N"]]:
    """A tree for every segment, fitted to the targets by squared error.

    Args:
      rows: the rows.
      weights: of the rows; one of weight 0 takes no part.
      targets: K numbers for each row.
      covered: :func:`cover` of the rows and weights.
      depth: levels of splits, at least 1.

    Returns:
      The trees and what they say on all rows, those without weight too.
    """
    count = len(covered.total)
    own = rows.segment
    split = best_split(rows, weights, targets, covered)
    features = [split.feature[:, None]]
    thresholds = [split.threshold[:, None]]
    for level in range(1, depth):
        order = divide(rows.sorted, rows.order, split.goes_right)
        segment = 2 * rows.segment + split.goes_right
        arranged = arrange(rows.columns, order, segment, count * 2**level)
        rows = Rows(rows.columns, order, segment, arranged)
        split = best_split(rows, weights, targets, cover(arranged, weights))
        features.append(split.feature.reshape(count, 2**level))
        thresholds.append(split.threshold.reshape(count, 2**level))
    leaves = jnp.stack([split.left, split.right], axis=-1)
    value = jnp.moveaxis(leaves.reshape(len(targets), count, 2**depth), 0, -1)
    trees = Trees(jnp.concatenate(features, 1), jnp.concatenate(thresholds, 1), value)
    leaf = 2 * rows.segment + split.goes_right - own * 2**depth
    return trees, take(value, own, leaf).T


def evaluate(
    trees: Trees, columns: Float[Array, "D N"], segment: Int[Array, " N"]
) -> Float[Array, "K N"]:
    """The predictions of one tree a segment: each row by the tree of its segment."""
    row = jnp.arange(columns.shape[1])
    inner = trees.feature.shape[-1]
    node = jnp.zeros_like(segment)
    for _ in range((inner + 1).bit_length() - 1):
        x = take(columns, take(trees.feature, segment, node), row)
        node = 2 * node + 1 + (x > take(trees.threshold, segment, node))
    return take(trees.value, segment, node - inner).T


def midpoint(
    lower: Float[Array, " S"], upper: Float[Array, " S"]
) -> Float[Array, " S"]:
    """The largest float32 not above the middle of two.

    It divides float32 numbers exactly as the middle in float64 does.
    """
    low, high = lower / 2, upper / 2
    middle = low + high
    # What the sum was rounded by (Knuth's two-sum).
    part = middle - low
    lost = (low - (middle - part)) + (high - part)
    return jnp.where(lost < 0, jnp.nextafter(middle, -jnp.inf), middle)
