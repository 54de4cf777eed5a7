"""Encoders that work in stages, and what one needs to build them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import nnx


@runtime_checkable
class Staged(Protocol):
    """A module whose output is that of its last stage."""

    @property
    def stages(self) -> list[Callable[[Any], Any]]:
        """Each on the output of the one before, the first on the inputs."""
        ...


class Encoder(NamedTuple):
    """How an encoder is made.

    Attributes:
      make: makes the module, a :class:`Staged` one.
      width: the size of its representation ``[B, width]``.
    """

    make: Callable[[nnx.Rngs], Any]
    width: int


def through(module: Staged, x: Any) -> Any:
    """All stages, one behind another."""
    for stage in module.stages:
        x = stage(x)
    return x
