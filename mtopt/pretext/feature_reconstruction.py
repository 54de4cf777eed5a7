"""Masked feature reconstruction: what a node's neighbours say of its features."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.data.graphs import Features, Graph, drop_edges, propagate, random_nodes
from mtopt.errors import expect
from mtopt.models.gcn import Encoder
from mtopt.models.layers import glorot
from mtopt.pretext.pretext import Pretext, init_linear


def feature_reconstruction(
    encoder: Encoder, *, masked: float | int = 0.5, dropped_edges: float | int = 0.35
) -> Pretext:
    r"""FeatRec: hides the features of half the nodes, and reconstructs them.

    On a view without some of the edges, nodes V get one learned token for features. The
    representation is projected, V is masked once more, and one graph convolution
    decodes it:

    .. math::
       \hat x = \hat A \, (\bar m \odot h W) \, U + b, \qquad
       L = \frac{1}{|V|} \sum_{v \in V} \left(1 - \cos(\hat x_v, x_v)\right)^3

    with :math:`\bar m` zero on V. A node that gets nothing (its neighbours are all
    masked, and so is it) has no direction to compare; its cosine is 0.

    Args:
      encoder: what is trained.
      masked: the share of nodes in V, in (0, 1).
      dropped_edges: the probability of an edge to be left out, in [0, 1).

    Raises:
      UserError: for a share out of range.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016; the loss from Hou et al., GraphMAE:
      Self-Supervised Masked Graph Autoencoders, 2022, arXiv 2205.10803.

    Differences from the released code:
      The token is a shared parameter, since the encoder sees it: its gradient counts in
      the norm of this task's row, and is zero in the others'. The released code leaves
      it out of MGDA. Cosines come from D x D products, so that the F-dimensional
      reconstruction is never written down; the numbers are the same.
    """
    expect(0 < masked < 1, "masked", masked, "a share in (0, 1)")
    expect(0 <= dropped_edges < 1, "dropped_edges", dropped_edges, "a share in [0, 1)")

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        project_key, decode_key = jax.random.split(key)
        return {
            "project": glorot(project_key, encoder.width, encoder.width),
            "decode": init_linear(decode_key, encoder.width, encoder.features),
        }

    def encode(shared: Any, graph: Graph, key: PRNGKeyArray) -> dict[str, Any]:
        node_key, edge_key = jax.random.split(key)
        hidden = random_nodes(node_key, graph.node_mask, masked)
        view = drop_edges(edge_key, graph, dropped_edges)
        features = graph.features.replace_rows(hidden, shared["mask_token"])
        inputs = dataclasses.replace(view, features=features)
        h = encoder.apply(shared["encoder"], inputs)
        return {"h": h, "view": view, "masked": hidden}

    def loss(head: Any, representation: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        del key
        view, hidden = representation["view"], representation["masked"]
        h = representation["h"] @ head["project"]
        received = propagate(view, jnp.where(hidden[:, None], 0, h))
        cosines = _cosines(received, head["decode"], view)
        return cubed_error(cosines, hidden)

    return Pretext(init, encode, loss)


def cubed_error(
    cosines: Float[Array, " N"], masked: Bool[Array, " N"]
) -> Float[Array, ""]:
    """The mean of ``(1 - cos)^3`` over the masked nodes: 0 at best, 8 at worst.

    Example:
      >>> two = jnp.array([True, True])
      >>> float(cubed_error(jnp.ones(2), two)), float(cubed_error(-jnp.ones(2), two))
      (0.0, 8.0)
    """
    total = jnp.where(masked, (1 - cosines) ** 3, 0).sum()
    return total / jnp.maximum(masked.sum(), 1)


def _cosines(
    received: Float[Array, "N D"], decode: dict[str, Array], view: Graph
) -> Float[Array, " N"]:
    """The cosine of every node's decoded features with its own."""
    features: Features = view.features
    kernel = jnp.concatenate([decode["kernel"], decode["bias"][None]])
    one = jnp.ones((len(received), 1), received.dtype)
    received = jnp.concatenate([received, one], axis=1)
    products = (received * features.project(kernel.T)).sum(axis=1)
    lengths = ((received @ (kernel @ kernel.T)) * received).sum(axis=1)
    squares = lengths * features.squared_norms()
    some = squares > 1e-12
    return jnp.where(some, products * jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
