"""The interface of pretext tasks: a view of a graph, and a loss on its encoding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mtopt.data.graphs import Graph


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


class Pretext(NamedTuple):
    """A task that makes its own labels, as functions of one graph.

    Attributes:
      init: ``key -> head``, the parameters of the task alone; a dict, maybe empty.
      encode: ``(shared, graph, key) -> representation``: makes one view of the graph or
        two and encodes them. ``shared`` is ``{"encoder": ..., "mask_token": [F]}``.
      loss: ``(head, representation, key) -> scalar``.
    """

    init: Callable[[PRNGKeyArray], dict[str, Any]]
    encode: Callable[[Any, Graph, PRNGKeyArray], Any]
    loss: Callable[[Any, Any, PRNGKeyArray], Float[Array, ""]]


def glorot(key: PRNGKeyArray, inputs: int, outputs: int) -> Float[Array, "a b"]:
    """A kernel from ``U(-b, b)``, ``b = sqrt(6 / (inputs + outputs))``.

    References:
      Glorot and Bengio, Understanding the difficulty of training deep feedforward
      neural networks, AISTATS 2010.
    """
    bound = (6 / (inputs + outputs)) ** 0.5
    return jax.random.uniform(key, (inputs, outputs), jnp.float32, -bound, bound)


def init_linear(key: PRNGKeyArray, inputs: int, outputs: int) -> dict[str, Array]:
    """Parameters of a linear layer: :func:`glorot`, and a bias of zeros."""
    bias = jnp.zeros(outputs, jnp.float32)
    return {"kernel": glorot(key, inputs, outputs), "bias": bias}


def apply_linear(layer: dict[str, Array], x: Float[Array, "n a"]) -> Array:
    """``x @ kernel + bias``."""
    return x @ layer["kernel"] + layer["bias"][None]
