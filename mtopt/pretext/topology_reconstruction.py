"""Topology reconstruction: which pairs of nodes have an edge."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mtopt.data.graphs import Graph, mask_columns
from mtopt.errors import expect
from mtopt.linalg import divide_or_zero
from mtopt.pretext.pretext import Encoder, Pretext, apply_linear, init_linear


def topology_reconstruction(
    encoder: Encoder,
    *,
    edges: int = 1024,
    masked_columns: float | int = 0.4,
    hidden: int = 512,
) -> Pretext:
    r"""TopoRec: tells edges of the graph from random pairs of nodes.

    .. math::
       z_u = \mathrm{ReLU}\!\left(W \frac{h_u}{\|h_u\|} + a\right), \qquad
       s_{uv} = w \cdot (z_u \odot z_v) + b

    and the loss is the binary cross-entropy of s, in nats, over edges (u, v) and as
    many pairs of the same u with a random node.

    Args:
      encoder: what is trained.
      edges: how many are drawn in a step, 1 or more; all, where there are no more.
      masked_columns: the probability of a feature column to be zero, in [0, 1).
      hidden: the width of z.

    Raises:
      UserError: for a number out of range.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016.

    Differences from the released code:
      Its data loader keeps a default batch size, so that it draws 10 edges in a step,
      where the batch was meant: ``edges=10`` is that. It passes messages in a sample
      of 15, 10 and 5 neighbours a hop, a saving on large graphs; here in all of them.
      In both the drawn edges stay among those that messages go along.
    """
    expect(edges >= 1, "edges", edges, "1 or more")
    expect(hidden >= 1, "hidden", hidden, "1 or more")
    expect(
        0 <= masked_columns < 1, "masked_columns", masked_columns, "a share in [0, 1)"
    )

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        project_key, score_key = jax.random.split(key)
        return {
            "project": init_linear(project_key, encoder.width, hidden),
            "score": init_linear(score_key, hidden, 1),
        }

    def encode(shared: Any, graph: Graph, key: PRNGKeyArray) -> dict[str, Any]:
        column_key, pair_key = jax.random.split(key)
        keep = mask_columns(column_key, encoder.features, masked_columns)
        view = dataclasses.replace(graph, features=graph.features.keep_columns(keep))
        first, second, other, real = _pairs(pair_key, graph, edges)
        h = encoder.apply(shared["encoder"], view)
        return {
            "h": h,
            "first": first,
            "second": second,
            "other": other,
            "real": real,
        }

    def loss(head: Any, representation: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        del key
        h = representation["h"]
        # An isolated node may have no representation, hence no direction.
        squares = (h**2).sum(axis=1, keepdims=True)
        some = squares > 0
        h = jnp.where(some, h * jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
        z = jax.nn.relu(apply_linear(head["project"], h))
        first = z[representation["first"]]

        def score(nodes: Int[Array, " E"]) -> Float[Array, " E"]:
            return apply_linear(head["score"], first * z[nodes])[:, 0]

        edges, others = score(representation["second"]), score(representation["other"])
        return link_loss(edges, others, representation["real"])

    return Pretext(init, encode, loss)


def link_loss(
    edges: Float[Array, " P"], others: Float[Array, " P"], real: Bool[Array, " P"]
) -> Float[Array, ""]:
    """The mean binary cross-entropy of the logits of edges, and of as many non-edges.

    Example:
      >>> zero = jnp.zeros(3)
      >>> round(float(link_loss(zero, zero, jnp.array([True, True, False]))), 4)
      0.6931
    """
    losses = optax.sigmoid_binary_cross_entropy(edges, jnp.ones_like(edges))
    losses += optax.sigmoid_binary_cross_entropy(others, jnp.zeros_like(others))
    total = jnp.where(real, losses, 0).sum()
    return divide_or_zero(total, 2 * real.sum().astype(total.dtype))


def _pairs(
    key: PRNGKeyArray, graph: Graph, count: int
) -> tuple[Int[Array, " P"], Int[Array, " P"], Int[Array, " P"], Bool[Array, " P"]]:
    """The ends of random edges, in random direction, and another node for each."""
    edge_key, side_key, node_key = jax.random.split(key, 3)
    score = jax.random.uniform(edge_key, graph.edge_mask.shape)
    score = jnp.where(graph.edge_mask, score, -1)
    score, chosen = jax.lax.top_k(score, min(count, len(score)))
    ends = graph.edges[chosen]
    turn = jax.random.bernoulli(side_key, shape=score.shape)
    first = jnp.where(turn, ends[:, 1], ends[:, 0])
    second = jnp.where(turn, ends[:, 0], ends[:, 1])
    nodes = jnp.argsort(~graph.node_mask, stable=True)
    share = jax.random.uniform(node_key, score.shape)
    other = nodes[jnp.floor(share * graph.node_mask.sum()).astype(jnp.int32)]
    return first, second, other, score >= 0
