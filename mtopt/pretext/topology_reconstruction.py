"""Topology reconstruction: which pairs of nodes have an edge."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mtopt.data.graphs import Features, Graph, mask_columns
from mtopt.errors import expect, expect_one_of
from mtopt.linalg import divide_or_zero
from mtopt.models.gcn import Encoder
from mtopt.pretext.pretext import Pretext, apply_linear, init_linear

FORMS = ("columns", "released")


def topology_reconstruction(
    encoder: Encoder,
    *,
    edges: int = 1024,
    masked_columns: float | int = 0.4,
    hidden: int = 512,
    form: str = "columns",
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
      masked_columns: the probability of a feature column to be zero, in [0, 1); of an
        entry of the features, as released.
      hidden: the width of z.
      form: ``"columns"``: edges that the graph has, each drawn once, on features of
        which whole columns are zero, which keeps them sparse. ``"released"``, as in the
        code of ParetoGNN: draws are of both directions of every edge and of a loop at
        every node, and each entry of the features is dropped by itself, those that stay
        over ``1 - masked_columns``, which writes all features down.

    Raises:
      UserError: for a number out of range, or another form.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016.

    Differences from the released code:
      See ``form``; both draw one random node for an edge, whatever edges it has. Its
      data loader keeps a default batch size, so that it draws 10 edges in a step, where
      the batch was meant: ``form="released", edges=10`` is that. It passes
      messages in a sample of 15, 10 and 5 neighbours a hop, a saving on large graphs;
      here in all of them. In both the drawn edges stay among those that messages go
      along.
    """
    expect(edges >= 1, "edges", edges, "1 or more")
    expect(hidden >= 1, "hidden", hidden, "1 or more")
    expect(
        0 <= masked_columns < 1, "masked_columns", masked_columns, "a share in [0, 1)"
    )
    expect_one_of("form", form, FORMS)
    released = form == "released"

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        project_key, score_key = jax.random.split(key)
        return {
            "project": init_linear(project_key, encoder.width, hidden),
            "score": init_linear(score_key, hidden, 1),
        }

    def encode(shared: Any, graph: Graph, key: PRNGKeyArray) -> dict[str, Any]:
        column_key, pair_key = jax.random.split(key)
        if released:
            features = dropped_entries(column_key, graph.features, masked_columns)
        else:
            keep = mask_columns(column_key, encoder.features, masked_columns)
            features = graph.features.keep_columns(keep)
        view = dataclasses.replace(graph, features=features)
        first, second, other, real = _pairs(pair_key, graph, edges, loops=released)
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


def dropped_entries(
    key: PRNGKeyArray, features: Features, rate: float | int
) -> Features:
    """Every entry zero with some probability, and over the rest's where it is not.

    Args:
      key: of the draws, one for each entry.
      features: of N nodes; dense afterwards.
      rate: the probability of zero, in [0, 1).
    """
    dense = features.project(jnp.eye(features.shape[1]))
    keep = jax.random.bernoulli(key, 1 - rate, dense.shape)
    return Features.dense(jnp.where(keep, dense / (1 - rate), 0))


def _pairs(
    key: PRNGKeyArray, graph: Graph, count: int, *, loops: bool = False
) -> tuple[Int[Array, " P"], Int[Array, " P"], Int[Array, " P"], Bool[Array, " P"]]:
    """The ends of random edges, and another node for each.

    Args:
      key: of the draws.
      graph: whose edges.
      count: how many are drawn; all, where there are no more.
      loops: draw from both directions of every edge and a loop at every node; else from
        the edges, in random direction.
    """
    edge_key, side_key, node_key = jax.random.split(key, 3)
    ends = graph.edges
    score = _draws(edge_key, graph.edge_mask)
    if loops:  # with draws of their own, which padding of the others leaves as they are
        own = jnp.arange(len(graph.node_mask), dtype=ends.dtype)[:, None]
        ends = jnp.concatenate([ends, ends[:, ::-1], jnp.tile(own, 2)])
        back_key, loop_key = jax.random.split(edge_key)
        back, loop = (
            _draws(back_key, graph.edge_mask),
            _draws(loop_key, graph.node_mask),
        )
        score = jnp.concatenate([score, back, loop])
    score, chosen = jax.lax.top_k(score, min(count, len(score)))
    ends = ends[chosen]
    turn = jax.random.bernoulli(side_key, shape=score.shape) & (not loops)
    first = jnp.where(turn, ends[:, 1], ends[:, 0])
    second = jnp.where(turn, ends[:, 0], ends[:, 1])
    nodes = jnp.argsort(~graph.node_mask, stable=True)
    share = jax.random.uniform(node_key, score.shape)
    other = nodes[jnp.floor(share * graph.node_mask.sum()).astype(jnp.int32)]
    return first, second, other, score >= 0


def _draws(key: PRNGKeyArray, real: Bool[Array, " n"]) -> Float[Array, " n"]:
    """A random number for everything real, -1 for padding."""
    return jnp.where(real, jax.random.uniform(key, real.shape), -1)
