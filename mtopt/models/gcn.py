"""A graph convolutional network, as an encoder of pretext tasks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.data.graphs import Graph, propagate
from mtopt.errors import expect, expect_one_of
from mtopt.models.layers import glorot
from mtopt.models.pure import Pure

NORMALIZATIONS = ("batch", "layer")
ACTIVATIONS = ("prelu", "relu")


class Encoder(NamedTuple):
    """The shared part of a graph model as pure functions.

    Attributes:
      init: ``key -> parameters``.
      apply: ``(parameters, graph) -> h [N, width]``.
      features: F, the size of a node's features.
      width: the size of a node's representation.
    """

    init: Callable[[PRNGKeyArray], Any]
    apply: Callable[[Any, Graph], Float[Array, "N width"]]
    features: int
    width: int


class GraphConvolution(nnx.Module):
    r"""``act(norm(Â X W + b))``; see :func:`gcn`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        normalization: str,
        activation: str,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.kernel = nnx.Param(glorot(rngs.params(), inputs, outputs))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32))
        self.scale = nnx.Param(jnp.ones(outputs, jnp.float32))
        self.offset = nnx.Param(jnp.zeros(outputs, jnp.float32))
        self.slope = nnx.data(None)
        if activation == "prelu":
            self.slope = nnx.Param(jnp.full((), 0.25, jnp.float32))
        self.normalization = normalization

    def __call__(
        self, graph: Graph, h: Float[Array, "N inputs"] | None
    ) -> Float[Array, "N outputs"]:
        """One layer; ``h`` is None for the first, which reads the features."""
        kernel = self.kernel[...]
        h = graph.features.project(kernel) if h is None else h @ kernel
        h = propagate(graph, h) + self.bias[...][None]
        norm = _over_nodes if self.normalization == "batch" else _over_columns
        h = norm(h, graph.node_mask) * self.scale[...][None] + self.offset[...][None]
        slope = 0.0 if self.slope is None else self.slope[...]
        return jnp.where(h > 0, h, slope * h)


class GCN(nnx.Module):
    """Graph convolutions one after another; see :func:`gcn`."""

    def __init__(
        self,
        features: int,
        hidden: tuple[int, ...],
        normalization: str,
        activation: str,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        widths = (features, *hidden)
        self.layers = nnx.List(
            GraphConvolution(before, after, normalization, activation, rngs=rngs)
            for before, after in zip(widths, hidden, strict=False)
        )

    def __call__(self, graph: Graph) -> Float[Array, "N width"]:
        """The representation of every node."""
        h = None
        for layer in self.layers:
            h = layer(graph, h)
        return h * graph.node_mask[:, None]


def gcn(
    features: int,
    *,
    hidden: tuple[int, ...] = (512, 256),
    normalization: str = "batch",
    activation: str = "prelu",
) -> Encoder:
    r"""Graph convolutions, each normalised and activated, the last one too.

    .. math:: h^{(l+1)} = \phi\!\left(\mathrm{norm}(\hat A h^{(l)} W_l + b_l)\right)

    with :math:`\hat A` as in :func:`mtopt.data.graphs.propagate`, and the node features
    for :math:`h^{(0)}`.

    Args:
      features: F, the size of a node's features.
      hidden: the widths of the layers, at least one; the last is the size of the
        representation.
      normalization: ``"batch"``, each column over the real nodes of the graph that is
        encoded, or ``"layer"``, each node over its columns.
      activation: ``"prelu"``, with one learned slope a layer that starts at 0.25, or
        ``"relu"``.

    Returns:
      The encoder. Kernels start from Glorot's uniform, biases at 0. Nodes of padding
      are zeros.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import numpy as np
      >>> from mtopt.data.graphs import Features, Graph
      >>> encoder = gcn(3, hidden=(8, 4))
      >>> params = jax.jit(encoder.init)(jax.random.key(0))
      >>> graph = Graph.of(Features.dense(jnp.eye(3)), np.array([[0, 1]]))
      >>> jax.jit(encoder.apply)(params, graph).shape
      (3, 4)

    References:
      Kipf and Welling, Semi-Supervised Classification with Graph Convolutional
      Networks, 2016, arXiv 1609.02907; normalisation and activation as in Ju et al.,
      Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016.

    Differences from the released code:
      BatchNorm has no running statistics: an embedding is normalised over the graph it
      is made of, in evaluation as in training. The released code keeps 1 % of its
      running statistics in a step, so that its embeddings are normalised as the last
      view of the last feature reconstruction was, half its nodes masked. Dropout and
      the projection, which none of its scripts use, are left out.
    """
    widths = "one width at least, each 1 or more"
    expect(min(hidden, default=0) > 0, "hidden", hidden, widths)
    expect_one_of("normalization", normalization, NORMALIZATIONS)
    expect_one_of("activation", activation, ACTIVATIONS)
    pure = Pure.of(
        lambda rngs: GCN(features, hidden, normalization, activation, rngs=rngs)
    )

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        return pure.init(key)[0]

    def apply(params: Any, graph: Graph) -> Float[Array, "N width"]:
        return pure.evaluate(params, {}, graph)

    return Encoder(init, apply, features, hidden[-1])


def _over_nodes(h: Float[Array, "N D"], real: Bool[Array, " N"]) -> Float[Array, "N D"]:
    """Every column with mean 0 and variance 1 over the real nodes."""
    count = jnp.maximum(real.sum(), 1)
    seen = real[:, None]
    mean = jnp.where(seen, h, 0).sum(axis=0, keepdims=True) / count
    centred = h - mean
    variance = jnp.where(seen, centred**2, 0).sum(axis=0, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + 1e-5)


def _over_columns(
    h: Float[Array, "N D"], real: Bool[Array, " N"]
) -> Float[Array, "N D"]:
    """Every node with mean 0 and variance 1 over its columns."""
    del real
    centred = h - h.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5)
