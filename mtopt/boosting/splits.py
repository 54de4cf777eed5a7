"""What every search of splits ends with: thresholds, and the leaves of both sides."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.boosting.columns import take
from mtopt.linalg import divide_or_zero

# A node whose targets vary less is a leaf, as in scikit-learn.
LEAST_VARIANCE = 2.2e-16


class Split(NamedTuple):
    """The best split of every segment, and which rows go right."""

    feature: Int[Array, " S"]
    threshold: Float[Array, " S"]
    left: Float[Array, "K S"]
    right: Float[Array, "K S"]
    goes_right: Bool[Array, " N"]


class Centred(NamedTuple):
    """Targets around the means of their segments, among which splits are looked for.

    Attributes:
      segment: of each row.
      weights: of the rows.
      mean: of the targets of each segment.
      targets: less the mean of their segment.
      vary: whether the targets of a segment vary, so that it may be split.
    """

    segment: Int[Array, " N"]
    weights: Float[Array, " N"]
    mean: Float[Array, "K S"]
    targets: Float[Array, "K N"]
    vary: Bool[Array, " S"]


def centre(
    segment: Int[Array, " N"],
    weights: Float[Array, " N"],
    targets: Float[Array, "K N"],
    sums: Float[Array, "K S"],
    total: Float[Array, " S"],
) -> Centred:
    """Takes means away, given the weighted sums and the weight of each segment."""
    mean = divide_or_zero(sums, total[None])
    centred = targets - take(mean, slice(None), segment)
    # Less what the mean was rounded by: targets that are all alike do not vary.
    powers = weights[None] * jnp.concatenate([centred, centred**2])
    powers = jax.ops.segment_sum(powers.T, segment, len(total))
    first, second = jnp.split(divide_or_zero(powers, total[:, None]), 2, axis=1)
    vary = (second - first**2).mean(axis=1) > LEAST_VARIANCE
    return Centred(segment, weights, mean, centred, vary)


def split_at(
    columns: Float[Array, "D N"],
    centred: Centred,
    feature: Int[Array, " S"],
    threshold: Float[Array, " S"],
) -> Split:
    """Divides every segment there; with the threshold infinity all rows stay left."""
    segment, count = centred.segment, len(threshold)
    x = take(columns, take(feature, segment), jnp.arange(columns.shape[1]))
    goes_right = x > take(threshold, segment)
    # A leaf's own rows alone: few of them must not inherit the rounding of many.
    weights = centred.weights[None]
    own = jnp.concatenate([weights * centred.targets, weights]).T
    own = jax.ops.segment_sum(own, 2 * segment + goes_right, 2 * count).T
    offset = divide_or_zero(own[:-1], own[-1:]).reshape(-1, count, 2)
    left, right = (centred.mean + offset[..., side] for side in (0, 1))
    right = jnp.where(threshold < jnp.inf, right, 0)
    return Split(feature, threshold, left, right, goes_right)


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
