"""The shared part of a graph model, as pretext tasks and probes take it."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
