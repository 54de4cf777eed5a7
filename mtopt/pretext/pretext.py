"""The interface of pretext tasks: a view of a graph, and a loss on its encoding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mtopt.data.graphs import Graph
from mtopt.models.layers import glorot


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


def init_linear(key: PRNGKeyArray, inputs: int, outputs: int) -> dict[str, Array]:
    """Parameters of a linear layer: :func:`glorot`, and a bias of zeros."""
    bias = jnp.zeros(outputs, jnp.float32)
    return {"kernel": glorot(key, inputs, outputs), "bias": bias}


def apply_linear(layer: dict[str, Array], x: Float[Array, "n a"]) -> Array:
    """``x @ kernel + bias``."""
    return x @ layer["kernel"] + layer["bias"][None]
