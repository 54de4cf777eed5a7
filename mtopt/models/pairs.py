"""Preferences: which of two inputs wins, by one score of each.

A sample is a pair, its inputs side by side, ``x`` leaves ``[b, 2, ...]``, so that it
stays one under shuffling, masks and parts of a batch. Both go through the same encoder
and head.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from mtopt.errors import UserError
from mtopt.models.pure import Factory, batch_norms


class Pairs(nnx.Module):
    """An encoder of one input, on both of every pair; see :func:`pairs`."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.encoder = make(rngs)

    def __call__(self, x: Any) -> Any:
        """The representations ``[b, 2, ...]``."""
        shapes = {leaf.shape for leaf in jax.tree.leaves(x)}
        if any(len(shape) < 2 or shape[1] != 2 for shape in shapes):
            raise UserError(
                f"inputs of pairs have shapes {sorted(shapes)}: expected [b, 2, ...], "
                "the two of a pair side by side"
            )
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), x)
        with _averages_of_pairs(self.encoder):
            outputs = self.encoder(flat)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:]), outputs)


class Difference(nnx.Module):
    """The score of the first of a pair less that of the second."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.head = make(rngs)

    def __call__(self, pair: Any) -> Float[Array, "b C"]:
        """The log-odds that the first wins, ``[b, 1]``."""
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), pair)
        scores = self.head(flat)
        scores = scores.reshape(-1, 2, *scores.shape[1:])
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


@contextlib.contextmanager
def _averages_of_pairs(module: nnx.Module) -> Iterator[None]:
    """BatchNorm averages over samples: two rows that follow each other are one."""
    norms = batch_norms(module)
    averages = [norm.average for norm in norms]

    def over_pairs(average: Any) -> Any:
        def of_rows(values: Float[Array, "rows ... C"]) -> Array:
            return average(values.reshape(-1, 2, *values.shape[1:]))

        return of_rows

    for norm, average in zip(norms, averages, strict=True):
        norm.average = over_pairs(average)
    yield
    for norm, average in zip(norms, averages, strict=True):
        norm.average = average
