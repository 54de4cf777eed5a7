"""Graphs with labelled nodes: citation and web graphs, planted blocks, split edges."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from mtopt.data.graphs import Features, Graph
from mtopt.errors import UserError, expect, expect_one_of

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
    """

    name: str
    features: Features
    raw: Features
    edges: np.ndarray
    labels: np.ndarray

    @property
    def graph(self) -> Graph:
        """All nodes and edges, without padding."""
        return Graph.of(self.features, self.edges)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.labels.max()) + 1


def graph_npz(path: str | os.PathLike[str], *, scale: str = "standard") -> NodeData:
    """A graph of your own, or a published one, from a ``.npz`` file.

    ================= ========== =====================================================
    array             shape      what
    ================= ========== =====================================================
    ``edges``         ``[E, 2]`` the ends of every edge, in [0, N); direction, loops
                                 and second copies are left out
    ``x_indptr``      ``[N+1]``  features in compressed rows: those of node i stand at
    ``x_indices``     ``[M]``    ``x_indptr[i]:x_indptr[i+1]`` of ``x_indices`` (the
    ``x_data``        ``[M]``    columns) and ``x_data`` (the values, 1 if not given)
    ``x_shape``       ``[2]``    N and F
    ``y``             ``[N]``    classes from 0; -1 for a node without one
    ================= ========== =====================================================

    Args:
      path: the file.
      scale: ``"standard"``: every column with mean 0 and variance 1 over the nodes, as
        ParetoGNN; ``"rows"``: every node's values divided by their sum, as Kipf and
        Welling; ``"none"``.

    Raises:
      UserError: for another scale, or a file that can't be read or lacks an array.
    """
    expect_one_of("scale", scale, SCALES)
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = dict(stored)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({type(error).__name__}): expected a .npz file of a "
            "graph, see mtopt.data.graph_npz"
        ) from error
    missing = {"edges", "x_indptr", "x_indices", "x_shape", "y"} - found.keys()
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(sorted(missing))}: expected the arrays of "
            "mtopt.data.graph_npz"
        )
    shape = (int(found["x_shape"][0]), int(found["x_shape"][1]))
    rows = np.repeat(np.arange(shape[0]), np.diff(found["x_indptr"]))
    columns = found["x_indices"].astype(np.int64)
    values = found.get("x_data", np.ones(len(columns))).astype(np.float64)
    features = scaled(rows, columns, values, shape, scale)
    raw = scaled(rows, columns, values, shape, "none")
    edges = np.asarray(Graph.of(features, found["edges"]).edges)
    name = path.parent.name if path.stem == "data" else path.stem
    labels = found["y"].astype(np.int64)
    return NodeData(name.removeprefix("graph_"), features, raw, edges, labels)


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
    values: Float[np.ndarray, " M"],
    shape: tuple[int, int],
    scale: str,
) -> Features:
    """Sparse features on a common scale, an entry of :data:`SCALES`."""
    if scale == "none":
        return Features.sparse(rows, columns, values, shape)
    if scale == "rows":
        sums = np.maximum(np.bincount(rows, values, shape[0]), 1e-12)
        return Features.sparse(rows, columns, values / sums[rows], shape)
    count = shape[0]
    mean = np.bincount(columns, values, shape[1]) / count
    variance = np.bincount(columns, values**2, shape[1]) / count - mean**2
    deviation = np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 1e-12)), 1)
    return Features.sparse(
        rows, columns, values / deviation[columns], shape, mean / deviation
    )


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
      UserError: where a graph has too few pairs without an edge, or too few edges.

    Example:
      >>> ring = np.stack([np.arange(20), (np.arange(20) + 1) % 20], axis=1)
      >>> split = link_split(ring, 20)
      >>> len(split.train), len(split.valid), len(split.test)
      (28, 4, 8)
    """
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


GRAPHS: dict[str, Callable[..., NodeData]] = {
    "graph_npz": graph_npz,
    "stochastic_blocks": stochastic_blocks,
}
"""Every source of a graph by its name."""
