"""The interface of pretext tasks: a view of the inputs, and a loss on its encoding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.models.layers import glorot


class Pretext(NamedTuple):
    """A task that makes its own labels, as functions of its inputs.

    Attributes:
      init: ``key -> head``, the parameters of the task alone; a dict, maybe empty.
      encode: ``(shared, x, key) -> representation``: makes one view of the inputs or
        two and encodes them. On a graph, ``shared`` is ``{"encoder": ..., "mask_token":
        [F]}``; on arrays ``[b, ...]`` the shared parameters of a model.
      loss: ``(head, representation, mask, key) -> scalar``, over the samples where
        ``mask`` is True, bool ``[b]``; one graph is one sample.
    """

    init: Callable[[PRNGKeyArray], dict[str, Any]]
    encode: Callable[[Any, Any, PRNGKeyArray], Any]
    loss: Callable[[Any, Any, Bool[Array, " b"], PRNGKeyArray], Float[Array, ""]]


def init_linear(key: PRNGKeyArray, inputs: int, outputs: int) -> dict[str, Array]:
    """Parameters of a linear layer: Glorot's kernel, and a bias of zeros."""
    bias = jnp.zeros(outputs, jnp.float32)
    return {"kernel": glorot(key, inputs, outputs), "bias": bias}


def apply_linear(layer: dict[str, Array], x: Float[Array, "n a"]) -> Array:
    """``x @ kernel + bias``."""
    return x @ layer["kernel"] + layer["bias"][None]


def unit_rows(rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of length 1; one of zeros stays, and has no gradient."""
    squares = (rows**2).sum(axis=1, keepdims=True)
    some = squares > 0
    return jnp.where(some, rows * jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
