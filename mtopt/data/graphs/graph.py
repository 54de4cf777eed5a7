"""An undirected graph as arrays of static shape, and a step along its edges."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mtopt.data.graphs.features import Features
from mtopt.data.graphs.sparse import sparse_product
from mtopt.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes with features, and undirected edges, each stored once.

    Both may be padded, so that graphs of several sizes share one compiled step. Padding
    never changes what real nodes get, random samples included. Self-loops are not
    stored: :func:`propagate` gives every node one.

    Args:
      features: of N nodes; those of padding are zeros.
      edges: the two ends of E edges, ``[E, 2]``.
      edge_mask: True where an edge is real, ``[E]``.
      node_mask: True where a node is real, ``[N]``.

    Example:
      >>> path = Graph.of(Features.dense(jnp.eye(3)), np.array([[0, 1], [1, 2]]))
      >>> degrees(path).tolist()
      [2.0, 3.0, 2.0]
    """

    features: Features
    edges: Any
    edge_mask: Any
    node_mask: Any

    @classmethod
    def of(cls, features: Features, edges: Int[np.ndarray, "E 2"]) -> "Graph":
        """A graph without padding; loops and second copies of an edge are left out.

        Raises:
          UserError: for edges of another shape, or to a node that does not exist.
        """
        count = features.shape[0]
        edges = np.asarray(edges)
        check_edges(edges, count)
        ordered = np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1)
        once = np.unique(ordered, axis=0)
        real = np.ones(len(once), bool), np.ones(count, bool)
        return cls(features, *jax.device_put((once.astype(np.int32), *real)))

    def padded(self, *, nodes: int, edges: int) -> "Graph":
        """The same graph with padding up to so many nodes and edges.

        Raises:
          UserError: where the graph is larger.
        """
        more_nodes = nodes - len(self.node_mask)
        more_edges = edges - len(self.edge_mask)
        if more_nodes < 0 or more_edges < 0:
            raise UserError(
                f"cannot pad {len(self.node_mask)} nodes and {len(self.edge_mask)} "
                f"edges to {nodes} and {edges}: expected at least as many"
            )
        left = jnp.pad(self.features.left, ((0, more_nodes), (0, 0)))
        return Graph(
            dataclasses.replace(self.features, left=left),
            jnp.pad(self.edges, ((0, more_edges), (0, 0))),
            jnp.pad(self.edge_mask, (0, more_edges)),
            jnp.pad(self.node_mask, (0, more_nodes)),
        )


def check_edges(edges: np.ndarray, nodes: int) -> None:
    """Raises unless edges are rows of two numbers of nodes.

    Args:
      edges: what is to be ``[E, 2]``.
      nodes: N.

    Raises:
      UserError: for another shape or type, or a node out of range.

    Example:
      >>> check_edges(np.array([[0, 1, 2], [1, 2, 0]]), 3)
      Traceback (most recent call last):
      mtopt.errors.UserError: edges is int64 (2, 3): expected integers (E, 2), the two \
ends of an edge in a row; transpose (2, E)
    """
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise UserError(
            f"edges is {edges.dtype} {edges.shape}: expected integers (E, 2), the two "
            "ends of an edge in a row; transpose (2, E)"
        )
    if edges.size and not 0 <= edges.min() <= edges.max() < nodes:
        raise UserError(
            f"edges join nodes {edges.min()} to {edges.max()}: expected nodes in "
            f"[0, {nodes}), counted from 0, one for each row of features"
        )


def degrees(graph: Graph) -> Float[Array, " N"]:
    """The number of real edges of every node, its self-loop included."""
    real = jnp.tile(graph.edge_mask.astype(jnp.float32), 2)
    count = len(graph.node_mask)
    return 1 + jax.ops.segment_sum(real, graph.edges.T.ravel(), count)


def propagate(graph: Graph, h: Float[Array, "N D"]) -> Float[Array, "N D"]:
    r"""One step along the edges, symmetrically normalised.

    .. math:: \hat A h, \qquad \hat A = D^{-1/2} (A + I) D^{-1/2}

    with D the degrees of A + I.

    Args:
      graph: A, without its self-loops.
      h: a vector for every node.

    References:
      Kipf and Welling, Semi-Supervised Classification with Graph Convolutional
      Networks, 2016, arXiv 1609.02907.
    """
    scale = jax.lax.rsqrt(degrees(graph))
    first, second = graph.edges.T
    weights = graph.edge_mask * scale[first] * scale[second]
    to, source = graph.edges.T.ravel(), graph.edges[:, ::-1].T.ravel()
    received = sparse_product(to, source, jnp.tile(weights, 2), h, len(h))
    return received + (scale**2)[:, None] * h
