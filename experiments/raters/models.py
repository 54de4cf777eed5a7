"""The heads that are compared, as models of one task."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mtopt.models import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.mlp import MLP
from mtopt.models.ordinal import judged, log_probabilities, rated
from mtopt.models.pure import Factory

TASK = ("rating",)
KINDS = {
    "adjacent": "ordinal_adjacent",
    "cumulative": "ordinal",
    "softmax": "classification",
}


class Head(NamedTuple):
    """A model of ratings, and what it says of a level.

    Attributes:
      model: of one task, on ``{"inputs": ..., "rater": ...}``.
      kind: of its outputs.
      of_raters: the name of the parameters of the raters, or None without any.
    """

    model: Model
    kind: str
    of_raters: str | None

    def log_probabilities(self, outputs: jax.Array) -> jax.Array:
        """Of every level, ``[..., C]``."""
        if self.kind == "classification":
            return jax.nn.log_softmax(outputs)
        return log_probabilities(outputs, kind=self.kind)


def make_head(
    name: str, *, features: int, hidden: tuple[int, ...], levels: int, raters: int
) -> Head:
    """One of :data:`experiments.raters.config.HEADS`."""
    link, _, of_raters = name.partition("_")
    kind = KINDS[link]

    def encoder(rngs: nnx.Rngs) -> nnx.Module:
        return MLP(features, hidden, 0.0, dtype=jnp.float32, rngs=rngs)

    last = linear_head((features, *hidden)[-1], levels, kind=kind)
    if of_raters == "severity":
        parts = rated(encoder, raters=raters), judged(last)
        names = "severity"
    elif of_raters == "biases":
        parts = _biased(encoder, last, raters, levels)
        names = "rater_bias"
    else:
        parts = (lambda rngs: _Anonymous(encoder, rngs)), last
        names = None
    return Head(functional(*parts, TASK, kind=kind), kind, names)


class _Anonymous(nnx.Module):
    """An encoder that is not told who rated."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.encoder = make(rngs)

    def __call__(self, x: Any) -> Any:
        return self.encoder(x["inputs"])


class _Biased(nnx.Module):
    """An encoder beside a bias for every rater and level."""

    def __init__(self, make: Factory, raters: int, levels: int, rngs: nnx.Rngs) -> None:
        self.encoder = make(rngs)
        self.rater_bias = nnx.Param(jnp.zeros((raters, levels), jnp.float32))

    def __call__(self, x: Any) -> Any:
        return self.encoder(x["inputs"]), self.rater_bias[...][x["rater"]]


class _Shifted(nnx.Module):
    """A head, then its rater's biases."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.head = make(rngs)

    def __call__(self, pair: Any) -> jax.Array:
        representation, bias = pair
        return self.head(representation) + bias


def _biased(
    encoder: Factory, head: Factory, raters: int, levels: int
) -> tuple[Factory, Factory]:
    return (
        lambda rngs: _Biased(encoder, raters, levels, rngs),
        lambda rngs: _Shifted(head, rngs),
    )
