"""Preferences: which of two inputs wins, by one score of each.

A sample is a pair, its inputs side by side, ``x`` leaves ``[b, 2, ...]``, so that it
stays one under shuffling, masks and parts of a batch. Both go through the same encoder
and head.
"""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from mtopt.errors import UserError
from mtopt.models.pure import Factory
from mtopt.models.several_inputs import on_each


class Pairs(nnx.Module):
    """An encoder of one input, on both of every pair; see :func:`pairs`."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.encoder = make(rngs)

    def __call__(self, x: Any, *told: Any) -> Any:
        """The representations ``[b, 2, ...]``."""
        shapes = {leaf.shape for leaf in jax.tree.leaves(x)}
        if any(len(shape) < 2 or shape[1] != 2 for shape in shapes):
            raise UserError(
                f"inputs of pairs have shapes {sorted(shapes)}: expected [b, 2, ...], "
                "the two of a pair side by side"
            )
        return on_each(self.encoder, x, *told)


class Difference(nnx.Module):
    """The score of the first of a pair less that of the second."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.head = make(rngs)

    def __call__(self, pair: Any) -> Float[Array, "b C"]:
        """The log-odds that the first wins, ``[b, 1]``."""
        scores = on_each(self.head, pair)
        return scores[:, 0] - scores[:, 1]


def pairs(encoder: Factory, head: Factory) -> tuple[Factory, Factory]:
    r"""Encoder and head of one input as those of pairs.

    .. math:: \log \frac{P(1 \text{ wins})}{P(2 \text{ wins})} = s(x_1) - s(x_2)

    Both inputs of a pair count for BatchNorm where its label is known.

    Args:
      encoder: makes the shared part, ``x [b, ...] -> representation``.
      head: makes the part of one task, ``representation -> score [b, 1]``.
    """
    return lambda rngs: Pairs(encoder, rngs), lambda rngs: Difference(head, rngs)
