"""Random views of a graph, of static shape, for use inside a compiled step.

All draws are one number per node, edge or column, in order: padding at the end of a
graph leaves those of its real nodes and edges as they were.
"""

import dataclasses
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mtopt.data.graphs.graph import Graph, degrees
from mtopt.errors import expect, expect_one_of

Sampler = Callable[[PRNGKeyArray, Graph], Graph]
"""``(key, graph) -> graph``: a part of a graph, in shapes that are known beforehand."""


def drop_edges(key: PRNGKeyArray, graph: Graph, rate: float | int) -> Graph:
    """DropEdge: leaves out every edge with probability ``rate``, in both directions."""
    keep = jax.random.uniform(key, graph.edge_mask.shape) >= rate
    return dataclasses.replace(graph, edge_mask=graph.edge_mask & keep)


def mask_columns(key: PRNGKeyArray, count: int, rate: float | int) -> Bool[Array, " F"]:
    """True for the feature columns that stay, each with probability ``1 - rate``."""
    return jax.random.uniform(key, (count,)) >= rate


def random_nodes(
    key: PRNGKeyArray, node_mask: Bool[Array, " N"], share: float | int
) -> Bool[Array, " N"]:
    """A share of the real nodes, to the nearest whole number of them.

    Example:
      >>> real = jnp.array([True] * 4 + [False] * 3)
      >>> chosen = random_nodes(jax.random.key(0), real, 0.5)
      >>> int(chosen.sum()), bool((chosen & ~real).any())
      (2, False)
    """
    order = _shuffled(key, node_mask)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)))
    return node_mask & (rank < jnp.round(share * node_mask.sum()))


def shuffle(key: PRNGKeyArray, graph: Graph) -> Graph:
    """The graph whose real nodes have swapped their features at random.

    Example:
      >>> import numpy as np
      >>> from mtopt.data.graphs import Features
      >>> x = Features.dense(jnp.arange(4.)[:, None])
      >>> graph = Graph.of(x, np.array([[0, 1]]))
      >>> moved = shuffle(jax.random.key(0), graph).features.project(jnp.ones((1, 1)))
      >>> sorted(moved[:, 0].tolist())
      [0.0, 1.0, 2.0, 3.0]
    """
    to = jnp.argsort(~graph.node_mask, stable=True)
    source = jnp.zeros_like(to).at[to].set(_shuffled(key, graph.node_mask))
    place = jnp.zeros_like(to).at[source].set(jnp.arange(len(to)))
    features = graph.features.take(source, graph.node_mask, place)
    return dataclasses.replace(graph, features=features)


def induced(graph: Graph, nodes: Int[Array, " n"], real: Bool[Array, " n"]) -> Graph:
    """The subgraph of some nodes: their features, and the edges among them.

    Args:
      graph: of N nodes.
      nodes: which; each at most once, where ``real``.
      real: False where an entry of ``nodes`` is padding.

    Returns:
      A graph of n nodes in the order of ``nodes``, and as many edges as before, most
      of them masked.
    """
    count, total = len(nodes), len(graph.node_mask)
    place = jnp.full(total, count, jnp.int32)
    to = jnp.where(real, nodes, total)
    place = place.at[to].set(jnp.arange(count, dtype=jnp.int32), mode="drop")
    edges = place[graph.edges]
    inside = graph.edge_mask & (edges < count).all(axis=1)
    return Graph(
        graph.features.take(nodes, real, place),
        jnp.where(inside[:, None], edges, 0),
        inside,
        real,
    )


def whole(key: PRNGKeyArray, graph: Graph) -> Graph:
    """The sampler that takes everything."""
    del key
    return graph


def saint(nodes: int) -> Sampler:
    """GraphSAINT's node sampler: nodes in proportion to their degree.

    Args:
      nodes: how many, 1 or more; all, where the graph has no more.

    References:
      Zeng et al., GraphSAINT: Graph Sampling Based Inductive Learning Method, 2019,
      arXiv 1907.04931. There nodes are drawn with replacement, here without, so that
      their number is known beforehand.
    """
    expect(nodes >= 1, "nodes", nodes, "1 or more")

    def sample(key: PRNGKeyArray, graph: Graph) -> Graph:
        if nodes >= len(graph.node_mask):
            return graph
        noise = jax.random.gumbel(key, graph.node_mask.shape)
        return _best(graph, jnp.log(degrees(graph)) + noise, graph.node_mask, nodes)

    return sample


FORMS = ("capped", "released")


def ego(seeds: int, *, hops: int, nodes: int, form: str = "capped") -> Sampler:
    """The nodes within some hops of random ones, the nearest first.

    Args:
      seeds: how many nodes it starts from, 1 or more. Fewer than ``nodes``, or no other
        node is taken than these, and most have no edge: it warns.
      hops: how far it goes, 0 or more.
      nodes: how many are taken, 1 or more. Where fewer are reached the rest is padding;
        where more are, those of the last hop take part at random. A graph with no more
        nodes is taken whole.
      form: ``"capped"``, as above; ``"released"``, as in the code of ParetoGNN: all
        that are reached are taken, however many, and ``nodes`` only says which graphs
        are taken whole. The arrays of a sample are then as long as the graph's.

    Raises:
      UserError: for a number out of range, or another form.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016.
    """
    expect(seeds >= 1, "seeds", seeds, "1 or more")
    expect(hops >= 0, "hops", hops, "0 or more")
    expect(nodes >= 1, "nodes", nodes, "1 or more")
    expect_one_of("form", form, FORMS)

    def sample(key: PRNGKeyArray, graph: Graph) -> Graph:
        total = len(graph.node_mask)
        if nodes >= total:
            return graph
        if form == "capped" and hops and nodes <= seeds:
            warnings.warn(
                f"ego(seeds={seeds}, hops={hops}, nodes={nodes}) takes none but its "
                f"seeds from the {total} nodes of this graph, so that hops has no "
                "effect and most nodes no edge: expected several times as many nodes "
                f"as seeds, as in seeds={max(nodes // 8, 1)}, or hops=0",
                stacklevel=2,
            )
        start_key, tie_key = jax.random.split(key)
        order = _shuffled(start_key, graph.node_mask)
        reached = jnp.zeros_like(graph.node_mask).at[order[:seeds]].set(True)
        reached &= graph.node_mask
        nearness = reached.astype(jnp.float32)
        for _ in range(hops):
            reached = _with_neighbours(graph, reached)
            nearness = nearness + reached
        few = graph.node_mask.sum() <= nodes
        reached |= graph.node_mask & few
        if form == "released":
            return induced(graph, jnp.arange(total), reached)
        ties = jax.random.uniform(tie_key, graph.node_mask.shape)
        return _best(graph, nearness + ties, reached, nodes)

    return sample


def _with_neighbours(graph: Graph, nodes: Bool[Array, " N"]) -> Bool[Array, " N"]:
    first, second = graph.edges.T
    sent = jnp.concatenate([nodes[second], nodes[first]]) & jnp.tile(graph.edge_mask, 2)
    count = jax.ops.segment_sum(
        sent.astype(jnp.int32), graph.edges.T.ravel(), len(nodes)
    )
    return nodes | (count > 0)


def _best(
    graph: Graph, score: Float[Array, " N"], allowed: Bool[Array, " N"], count: int
) -> Graph:
    """The subgraph of the allowed nodes that score highest."""
    score, nodes = jax.lax.top_k(jnp.where(allowed, score, -jnp.inf), count)
    return induced(graph, nodes, score > -jnp.inf)


def _shuffled(key: PRNGKeyArray, real: Bool[Array, " N"]) -> Int[Array, " N"]:
    """The real nodes in random order, then the others in theirs."""
    score = jnp.where(real, jax.random.uniform(key, real.shape), jnp.inf)
    return jnp.argsort(score, stable=True)
