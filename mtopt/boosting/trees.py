"""Regression trees, all segments' trees at once."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.boosting.columns import take
from mtopt.boosting.splits import Split


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


@runtime_checkable
class Rows(Protocol):
    """Weighted rows in segments, arranged so that splits are found among them.

    A segment is what one node of a tree is fitted to: all rows, the rows of a task, or
    the rows of a node of a task's tree.
    """

    @property
    def segment(self) -> Int[Array, " N"]:
        """The segment of each row."""
        ...

    def weighted(self, weights: Float[Array, " N"]) -> "Rows":
        """The rows with these weights; one of weight 0 takes no part."""
        ...

    def divided(self, goes_right: Bool[Array, " N"]) -> "Rows":
        """The rows after every segment s is divided into 2 s and 2 s + 1."""
        ...

    def best_split(self, targets: Float[Array, "K N"]) -> Split:
        """The split of every segment that lowers the squared error most."""
        ...


def grow(
    rows: Rows, targets: Float[Array, "K N"], depth: int
) -> tuple[Trees, Float[Array, "K N"]]:
    """A tree for every segment, fitted to the targets by squared error.

    Args:
      rows: the rows.
      targets: K numbers for each row.
      depth: levels of splits, at least 1.

    Returns:
      The trees and what they say on all rows, those without weight too.
    """
    own = rows.segment
    split = rows.best_split(targets)
    count = len(split.feature)
    features = [split.feature[:, None]]
    thresholds = [split.threshold[:, None]]
    for level in range(1, depth):
        rows = rows.divided(split.goes_right)
        split = rows.best_split(targets)
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
