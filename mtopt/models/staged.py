"""Encoders that work in stages, and what one needs to build them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float

from mtopt.models.heads import linear_head
from mtopt.models.pure import Factory


class Carried(NamedTuple):
    """What a stage hands on where a later one reads more than its features.

    Attributes:
      features: what the tasks of :func:`mtopt.models.cross_stitch.cross_stitch` mix.
      places: what only the later stages of the same network read, such as where the
        maxima of its pooled windows were.
    """

    features: Float[Array, "b ..."]
    places: tuple[Array, ...]


@runtime_checkable
class Staged(Protocol):
    """A module whose output is that of its last stage."""

    @property
    def stages(self) -> list[Callable[[Any], Any]]:
        """Each on the output of the one before, the first on the inputs.

        Outputs are arrays, or :class:`Carried`; that of the last is an array.
        """
        ...


class Encoder(NamedTuple):
    """How an encoder is made, and what reads it.

    Attributes:
      make: makes the module, a :class:`Staged` one.
      width: the size of its representation, ``[B, width]``, or of every pixel of one,
        ``[B, h, w, width]``.
      head: makes a head that reads it, ``(width, outputs, *, kind, dtype) -> factory``.
    """

    make: Callable[[nnx.Rngs], Any]
    width: int
    head: Callable[..., Factory] = linear_head


def through(module: Staged, x: Any) -> Any:
    """All stages, one behind another."""
    for stage in module.stages:
        x = stage(x)
    return x
