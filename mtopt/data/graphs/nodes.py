"""Graphs with labelled nodes: citation and web graphs, planted blocks, split edges."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from mtopt.data.cells import summed_cells
from mtopt.data.graphs import Features, Graph
from mtopt.data.graphs.graph import check_edges
from mtopt.data.tables.scaling import resolved
from mtopt.errors import UserError, expect

SCALES = ("standard", "rows", "none")
"""What the features of nodes may be brought to."""


@dataclasses.dataclass(frozen=True)
class NodeData:
    """A graph, and what its nodes are.

    Attributes:
      name: what to call it in tables.
      features: of the N nodes, scaled, for an encoder.
      raw: as they are, for comparison.
      edges: the E undirected edges, each once, ``[E, 2]``.
      labels: the class of every node, ``[N]``; -1 where it has none.
      reading: what the loader took its source for, as plain values by title.
    """

    name: str
    features: Features
    raw: Features
    edges: np.ndarray
    labels: np.ndarray
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """All nodes and edges, without padding."""
        return Graph.of(self.features, self.edges)

    @property
    def classes(self) -> int:
        """The number of classes; 0 for a graph without labels."""
        return int(self.labels.max()) + 1


def stochastic_blocks(
    *,
    nodes: int = 400,
    classes: int = 4,
    words: int = 120,
    within: float = 0.04,
    across: float = 0.004,
    topical: float = 0.12,
    other: float = 0.05,
    seed: int = 0,
) -> NodeData:
    """A stochastic block model with words: classes that both edges and words hint at.

    Two nodes of one class are joined with probability ``within``, others with
    ``across``. Every class has a share of the words for its own; a node holds each of
    those with probability ``topical``, and each other one with ``other``.

    Args:
      nodes: N, at least ``classes``.
      classes: how many, all of one size.
      words: F, the number of columns, at least ``classes``.
      within: in [0, 1].
      across: in [0, 1].
      topical: in [0, 1].
      other: in [0, 1].
      seed: of all of this.

    Raises:
      UserError: for a number out of range.

    Example:
      >>> data = stochastic_blocks(nodes=40, classes=2, words=6)
      >>> data.features.shape, data.classes, len(data.edges) > 0
      ((40, 6), 2, True)

    References:
      Holland, Laskey and Leinhardt, Stochastic blockmodels: first steps, Social
      Networks, 1983.
    """
    expect(classes >= 2, "classes", classes, "2 or more")
    for name, value in (("nodes", nodes), ("words", words)):
        expect(value >= classes, name, value, f"{classes} or more, one for each class")
    shares = {"within": within, "across": across, "topical": topical, "other": other}
    for name, value in shares.items():
        expect(0 <= value <= 1, name, value, "a probability")
    rng = np.random.default_rng(seed)
    labels = np.arange(nodes) % classes
    first, second = np.triu_indices(nodes, 1)
    chance = np.where(labels[first] == labels[second], within, across)
    joined = rng.random(len(first)) < chance
    own = labels[:, None] == np.arange(words)[None] % classes
    rows, columns = np.nonzero(
        rng.random((nodes, words)) < np.where(own, topical, other)
    )
    features, raw = (
        scaled(rows, columns, np.ones(len(rows)), (nodes, words), scale)
        for scale in ("standard", "none")
    )
    edges = np.stack([first[joined], second[joined]], axis=1)
    return NodeData("stochastic_blocks", features, raw, edges, labels)


def scaled(
    rows: Int[np.ndarray, " M"],
    columns: Int[np.ndarray, " M"],
    values: Num[np.ndarray, " M"],
    shape: tuple[int, int],
    scale: str,
) -> Features:
    """Sparse features on a common scale.

    Args:
      rows: of the entries, in [0, N).
      columns: of the entries, in [0, F).
      values: of the entries; those of one place are added up.
      shape: N and F.
      scale: an entry of :data:`SCALES`. A column that is constant, as
        :func:`mtopt.data.tables.scaling.resolved` has it, becomes 0 by ``"standard"``.

    Example:
      >>> at = np.array([0, 0, 1]), np.array([0, 0, 0]), np.array([1., 1., 1.])
      >>> scaled(*at, (2, 1), "standard").squared_norms().tolist()
      [1.0, 1.0]
    """
    dtype, (nodes, width) = values.dtype, shape
    rows, columns, values = summed_cells(rows, columns, values, width)
    if scale == "none":
        return Features.sparse(rows, columns, values, shape)
    if scale == "rows":
        sums = np.bincount(rows, values, nodes)[rows]
        values = np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
        return Features.sparse(rows, columns, values, shape)
    entries = np.bincount(columns, minlength=width)
    mean = np.bincount(columns, values, width) / nodes
    squares = np.bincount(columns, (values - mean[columns]) ** 2, width)
    deviation = np.sqrt((squares + (nodes - entries) * mean**2) / nodes)
    full = entries == nodes
    least, most = np.where(full, np.inf, 0), np.where(full, -np.inf, 0)
    np.minimum.at(least, columns, values)
    np.maximum.at(most, columns, values)
    varies = resolved(least, most, dtype) & (deviation > 0)
    inverse = np.divide(1, deviation, out=np.zeros(width), where=varies)
    # Where every node has an entry the mean is taken off here, in float64: as a shift
    # of its own, in float32, it would leave nothing of a column like 1e8 + noise.
    values = (values - np.where(full, mean, 0)[columns]) * inverse[columns]
    shift = np.where(full, 0, mean) * inverse
    return Features.sparse(rows, columns, values, shape, shift)


@dataclasses.dataclass(frozen=True)
class LinkSplit:
    """Edges set aside, each with as many pairs that are none.

    Attributes:
      train: pairs ``[2 n, 2]``, n edges and then n others.
      valid: likewise.
      test: likewise.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def train_edges(self) -> np.ndarray:
        """The edges that an encoder may see."""
        return self.train[: len(self.train) // 2]


def link_split(
    edges: Int[np.ndarray, "E 2"],
    nodes: int,
    *,
    valid: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> LinkSplit:
    """Divides edges at random, and finds as many pairs of nodes without one.

    Args:
      edges: undirected, each once.
      nodes: N.
      valid: the share to choose a probe on.
      test: the share to measure it on.
      seed: of the division.

    Raises:
      UserError: for edges of another shape, or where a graph has too few pairs
        without an edge, or too few edges.

    Example:
      >>> ring = np.stack([np.arange(20), (np.arange(20) + 1) % 20], axis=1)
      >>> split = link_split(ring, 20)
      >>> len(split.train), len(split.valid), len(split.test)
      (28, 4, 8)
    """
    check_edges(edges, nodes)
    rng = np.random.default_rng(seed)
    count = len(edges)
    sizes = [round(valid * count), round(test * count)]
    if min(*sizes, count - sum(sizes)) < 1 or 3 * count > nodes * (nodes - 1) // 2:
        raise UserError(
            f"{count} edges among {nodes} nodes: expected enough for three parts, and "
            "twice as many pairs without an edge"
        )
    low, high = np.sort(edges, axis=1).T
    taken = set((low * nodes + high).tolist())
    others = []
    while len(others) < count:
        first, second = np.sort(rng.integers(0, nodes, 2))
        code = int(first) * nodes + int(second)
        if first != second and code not in taken:
            taken.add(code)
            others.append((first, second))
    shuffled = edges[rng.permutation(count)]
    ends = [0, sizes[0], sum(sizes), count]
    parts = [
        np.concatenate([shuffled[a:b], np.array(others)[a:b]])
        for a, b in itertools.pairwise(ends)
    ]
    return LinkSplit(parts[2], parts[0], parts[1])
