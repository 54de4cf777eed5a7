"""Node-graph mutual information: does a node belong to this graph?"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.data.graphs import Graph, Sampler, shuffle, whole
from mtopt.models.gcn import Encoder
from mtopt.pretext.pretext import Pretext


def node_graph_information(encoder: Encoder, *, sample: Sampler = whole) -> Pretext:
    r"""MI-NG, or DGI: tells nodes from those whose features were shuffled.

    .. math::
       s = \sigma\Big(\frac{1}{n} \sum_v h_v\Big), \qquad
       L = \mathrm{BCE}(h W s, 1) + \mathrm{BCE}(\tilde h W s, 0)

    where :math:`\tilde h` encodes the graph whose nodes have swapped their features at
    random, and each cross-entropy is a mean over nodes, in nats.

    Args:
      encoder: what is trained.
      sample: the part of the graph that a step sees; :func:`mtopt.data.graphs.ego` on a
        large one, with ``form="released"`` for the samples of the released code.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016; Veličković et al., Deep Graph Infomax,
      2018, arXiv 1809.10341. W starts from ``U(-1/sqrt(D), 1/sqrt(D))``, as released.
    """

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        bound = encoder.width**-0.5
        shape = (encoder.width, encoder.width)
        draw = jax.random.uniform(key, shape, jnp.float32, -bound, bound)
        return {"bilinear": draw}

    def encode(shared: Any, graph: Graph, key: PRNGKeyArray) -> dict[str, Any]:
        sample_key, shuffle_key = jax.random.split(key)
        part = sample(sample_key, graph)
        other = shuffle(shuffle_key, part)
        return {
            "true": encoder.apply(shared["encoder"], part),
            "shuffled": encoder.apply(shared["encoder"], other),
            "real": part.node_mask,
        }

    def loss(head: Any, representation: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        del key
        return information_loss(head["bilinear"], **representation)

    return Pretext(init, encode, loss)


def information_loss(
    bilinear: Float[Array, "D D"],
    true: Float[Array, "N D"],
    shuffled: Float[Array, "N D"],
    real: Bool[Array, " N"],
) -> Float[Array, ""]:
    """The loss of :func:`node_graph_information`, on representations.

    Args:
      bilinear: W.
      true: representations of the graph.
      shuffled: of the one with shuffled features.
      real: False for padding.

    Example:
      >>> h = jnp.ones((4, 2))
      >>> real = jnp.ones(4, bool)
      >>> round(float(information_loss(jnp.zeros((2, 2)), h, h, real)), 4)
      1.3863
    """
    count = jnp.maximum(real.sum(), 1)
    summary = jax.nn.sigmoid(jnp.where(real[:, None], true, 0).sum(axis=0) / count)
    direction = bilinear @ summary
    logits = true @ direction, shuffled @ direction
    losses = optax.sigmoid_binary_cross_entropy(logits[0], jnp.ones_like(logits[0]))
    losses += optax.sigmoid_binary_cross_entropy(logits[1], jnp.zeros_like(logits[1]))
    return jnp.where(real, losses, 0).sum() / count
