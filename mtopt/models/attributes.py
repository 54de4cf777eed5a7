"""Vectors of tokens and of items made of attributes, and the place of padding."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from mtopt.errors import UserError, expect
from mtopt.models.layers import as_floats, dense


def tokens_and_mask(
    x: Any, padding: float | int | None
) -> tuple[Num[Array, "*shape"], Bool[Array, "*shape"]]:
    """Tokens, and which are there; of a place with several numbers, which of those.

    Args:
      x: tokens ``[b, l]`` or ``[b, l, n]``, or ``{"tokens": tokens, "mask": mask}``
        with a mask ``[b, l]`` of the places that are there.
      padding: what stands where there is nothing, unless a mask says so; None: all
        that stands there is.

    Raises:
      UserError: for a tree of another form.

    Example:
      >>> _, there = tokens_and_mask(jnp.array([[3, 0]]), padding=0)
      >>> there.tolist()
      [[True, False]]
    """
    if not isinstance(x, dict):
        x = jnp.asarray(x)
        return x, jnp.ones(x.shape, bool) if padding is None else x != padding
    shapes = {name: jnp.shape(leaf) for name, leaf in x.items()}
    if x.keys() != {"tokens", "mask"} or shapes["mask"] != shapes["tokens"][:2]:
        raise UserError(
            f"inputs of a sequence are {shapes}: expected tokens [b, l, ...] and a "
            "mask [b, l]"
        )
    tokens, mask = jnp.asarray(x["tokens"]), jnp.asarray(x["mask"], bool)
    mask = mask.reshape(mask.shape + (1,) * (tokens.ndim - 2))
    return tokens, jnp.broadcast_to(mask, tokens.shape)


class Attributes(nnx.Module):
    r"""An item as the mean of the embeddings of its attributes.

    .. math:: v = \frac{1}{|A|} \sum_{a \in A} E_a

    An item has no vector of its own, so that one that training never had is known by
    what it has in common with others, and items of equal attributes have equal vectors.
    A token is an item of one attribute.

    Args:
      vocabulary: the number of values of each column of attributes.
      width: of a vector.
      dtype: what it computes in.
      rngs: of the parameters.

    References:
      Shalaby et al., M2TRec: Metadata-aware Multi-task Transformer for Large-scale and
      Cold-start free Session-based Recommendations, RecSys 2022, arXiv 2209.11824.
    """

    def __init__(
        self,
        vocabulary: tuple[int, ...],
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.table = nnx.Embed(sum(vocabulary), width, dtype=dtype, rngs=rngs)
        self.vocabulary = vocabulary

    def __call__(
        self, items: Num[Array, "*shape n"], there: Bool[Array, "*shape n"]
    ) -> Float[Array, "*shape d"]:
        """The vectors of items; NaN for a value outside of its column's vocabulary."""
        sizes = np.array(self.vocabulary)
        if not jnp.issubdtype(items.dtype, jnp.integer):
            raise UserError(
                f"tokens are {items.dtype}: expected integers, of which vocabulary "
                "says how many there are; vectors of numbers have none"
            )
        items = items.astype(jnp.int32)
        shape = (1,) * (items.ndim - 1) + sizes.shape
        first = jnp.asarray(np.cumsum(sizes) - sizes).reshape(shape)
        known = (items >= 0) & (items < jnp.asarray(sizes).reshape(shape))
        # An index outside of the table reads NaN there; one of another column does not.
        rows = jnp.where(known, items + first, int(sizes.sum()))
        each = jnp.where(there[..., None], self.table(rows), 0)
        count = jnp.maximum(there.sum(axis=-1, keepdims=True), 1)
        return each.sum(axis=-2) / count.astype(each.dtype)


class Vectors(nnx.Module):
    """Places of numbers, mapped to the width of a model.

    Args:
      features: how many numbers a place has.
      width: of a vector.
      dtype: what it computes in.
      rngs: of the parameters.
    """

    def __init__(
        self, features: int, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        self.linear = dense(features, width, dtype=dtype, rngs=rngs)
        self.dtype = dtype

    def __call__(
        self, places: Num[Array, "*shape n"], there: Bool[Array, "*shape n"]
    ) -> Float[Array, "*shape d"]:
        """The vectors of places that have a number."""
        # What stands behind a mask may be NaN: it must not reach a product.
        real = jnp.where(there.any(axis=-1, keepdims=True), places, 0)
        return self.linear(as_floats(real, self.dtype))


def check_vocabulary(vocabulary: tuple[int, ...]) -> None:
    """Raises unless every column of attributes has values to tell apart.

    Raises:
      UserError: otherwise.
    """
    whole = all(isinstance(size, int) and size >= 2 for size in vocabulary)
    good = bool(vocabulary) and whole
    expect(good, "vocabulary", vocabulary, "how many values there are, 2 or more")
