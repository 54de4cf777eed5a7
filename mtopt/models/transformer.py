"""A transformer over sequences of tokens, items or vectors, padded to one length."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError, expect, expect_number, expect_one_of
from mtopt.models.attention import AttentionBlock, check_attention
from mtopt.models.attributes import (
    Attributes,
    Vectors,
    check_vocabulary,
    tokens_and_mask,
)
from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.pooling import last_place, low_rank, mean_of_places
from mtopt.models.pure import Factory

POOLED = {"mean": mean_of_places, "last": last_place}
POOLING = (*POOLED, "low_rank")
"""How the places of a sequence become what a head reads."""


class Sequence(nnx.Module):
    """An encoder of sequences; see :func:`sequence`."""

    def __init__(
        self,
        embed: Factory,
        input_shape: tuple[int, ...],
        width: int,
        *,
        padding: float | int | None,
        layers: int,
        heads: int,
        pooling: str,
        causal: bool,
        dropout: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.embed = embed(rngs)
        self.positions = nnx.Embed(input_shape[0], width, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.blocks = nnx.List(
            AttentionBlock(width, heads, dropout, dtype=dtype, rngs=rngs)
            for _ in range(layers)
        )
        self.norm = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        self.shape = input_shape
        self.padding = padding
        self.pooling = pooling
        self.causal = causal

    def places(self, x: Any) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        """A vector of every place, 0 of padding, and which are there."""
        tokens, there = tokens_and_mask(x, self.padding)
        most, *own = self.shape
        fits = tokens.ndim == len(self.shape) + 1 and tokens.shape[2:] == tuple(own)
        if not fits or not 1 <= tokens.shape[1] <= most:
            sides = ", ".join(map(str, ("b", "l", *own)))
            raise UserError(
                f"sequences are {list(tokens.shape)}: expected [{sides}], l at most "
                f"{most}, as input_shape has"
            )
        # A token is an item of one attribute.
        columns = (*tokens.shape[:2], math.prod(own))
        tokens, there = tokens.reshape(columns), there.reshape(columns)
        mask, length = there.any(axis=-1), columns[1]
        z = self.embed(tokens, there) + self.positions(jnp.arange(length))[None]
        z = self.dropout(z)
        seen = mask[:, None, None]
        if self.causal:
            seen = seen & jnp.tril(jnp.ones((length, length), bool))[None, None]
        for block in self.blocks:
            z = block(z, z, seen)
        return jnp.where(mask[..., None], self.norm(z), 0), mask

    def __call__(self, x: Any) -> Any:
        """What heads read: a vector of a sample, or its places and their mask."""
        tokens, mask = self.places(x)
        if self.pooling in POOLED:
            return POOLED[self.pooling](tokens, mask)
        return {"tokens": tokens, "mask": mask}


def sequence(
    input_shape: tuple[int, ...],
    *,
    vocabulary: int | tuple[int, ...] | None = None,
    padding: float | int | None = 0,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    pooling: str = "mean",
    causal: bool = False,
    dropout: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Factory:
    """The encoder of :func:`transformer`, for heads of one's own.

    Args:
      input_shape: as of :func:`transformer`.
      vocabulary: likewise.
      padding: likewise.
      width: likewise.
      layers: likewise.
      heads: likewise.
      pooling: likewise; with ``"low_rank"`` heads are those of
        :func:`mtopt.models.pooling.low_rank`.
      causal: likewise.
      dropout: likewise.
      dtype: likewise.

    Returns:
      What makes a module of inputs ``[b, l, ...]``, or ``{"tokens": [b, l, ...],
      "mask": [b, l]}``, l at most L. Its outputs are ``[b, width]``, or with
      ``"low_rank"`` ``{"tokens": [b, l, width], "mask": [b, l]}``.

    Raises:
      UserError: for an option out of range, or a shape that does not fit vocabulary.

    Example:
      >>> encoder = sequence((6,), vocabulary=10, width=8)(nnx.Rngs(0))
      >>> encoder(jnp.array([[4, 1, 7, 0, 0, 0]])).shape
      (1, 8)
    """
    check_attention(width, heads, layers, dropout)
    expect_one_of("pooling", pooling, POOLING)
    own = (vocabulary,) if isinstance(vocabulary, int) else vocabulary
    if own is not None:
        check_vocabulary(own)
    columns = () if isinstance(vocabulary, int) else (len(own),) if own else None
    fits = len(input_shape) == 2 if columns is None else input_shape[1:] == columns
    if not fits or not input_shape or min(input_shape) < 1:
        raise UserError(
            f"input_shape is {input_shape} and vocabulary {vocabulary}: expected "
            "(places,) and a number for tokens, (places, attributes) and a number of "
            "each attribute for items, or (places, numbers) and None for vectors"
        )
    if padding is not None:
        expect_number("padding", padding)
        whole = own is None or padding == int(padding)
        expect(whole, "padding", padding, "an integer, as tokens are, or None")

    def embed(rngs: nnx.Rngs) -> nnx.Module:
        if own is None:
            return Vectors(input_shape[1], width, dtype=dtype, rngs=rngs)
        return Attributes(own, width, dtype=dtype, rngs=rngs)

    return lambda rngs: Sequence(
        embed,
        input_shape,
        width,
        padding=padding,
        layers=layers,
        heads=heads,
        pooling=pooling,
        causal=causal,
        dropout=dropout,
        dtype=dtype,
        rngs=rngs,
    )


def transformer(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    vocabulary: int | tuple[int, ...] | None = None,
    padding: float | int | None = 0,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    pooling: str = "mean",
    rank: int = 4,
    causal: bool = False,
    dropout: float = 0.0,
) -> Model:
    """A transformer over padded sequences, shared by all tasks, and K linear heads.

    A place where there is nothing is seen by no other and has no part in pooling: a
    sequence says the same however far it is padded. Positions are learned.

    ================ ============ ==================================================
    ``input_shape``  vocabulary   a place of the input is
    ================ ============ ==================================================
    ``(L,)``         ``V``        a token, an integer from 0 to V - 1
    ``(L, A)``       ``(V, ...)`` an item, its attributes integers below each V; see
                                  :class:`mtopt.models.attributes.Attributes`
    ``(L, F)``       None         a vector of F numbers
    ================ ============ ==================================================

    Args:
      input_shape: the shape of one input, without the batch axis, as in the table;
        L is the most places of a sequence. uint8 vectors are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`: one
        label of a sequence and task. Where the label is what comes next, take
        ``causal=True, pooling="last"`` and a sample for each place to predict from.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      vocabulary: how many values a token, or each attribute of an item, has, that of
        padding among them; None for vectors. Another value has outputs of NaN.
      padding: a token, or an attribute, of this value is none, and so is a place of
        nothing else; None: all are real. Inputs ``{"tokens": ..., "mask": bool
        [b, l]}`` have a mask of their own, and this is not looked at.
      width: of the vectors in the layers, 1 or more.
      layers: their number, 1 or more.
      heads: of the attention in each; they divide the width.
      pooling: what heads read: ``"mean"``, that of all places; ``"last"``, the last
        that is there; ``"low_rank"``, every task's own attention over the places; see
        :func:`mtopt.models.pooling.low_rank`.
      rank: of that attention, 1 or more.
      causal: whether a place sees those before it and itself alone.
      dropout: the share of what layers add that is set to zero in training, in [0, 1).

    Returns:
      The model.

    Raises:
      UserError: for an option out of range, or a shape that does not fit vocabulary.

    Example:
      >>> import jax
      >>> model = transformer((6,), names=("a", "b"), kind="binary", outputs=1,
      ...                     vocabulary=10, width=8)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> short = jnp.array([[4, 1, 7]])
      >>> padded = jnp.array([[4, 1, 7, 0, 0, 0]])
      >>> found = [model.predict(params, model_state, x) for x in (short, padded)]
      >>> found[0].shape, bool(jnp.allclose(*found))
      ((2, 1), True)

    References:
      Vaswani et al., Attention Is All You Need, 2017, arXiv 1706.03762.
    """
    encoder = sequence(
        input_shape,
        vocabulary=vocabulary,
        padding=padding,
        width=width,
        layers=layers,
        heads=heads,
        pooling=pooling,
        causal=causal,
        dropout=dropout,
        dtype=dtype,
    )
    expect(rank >= 1, "rank", rank, "1 or more")
    if pooling == "low_rank":
        last = linear_head(rank * width, outputs, kind=kind, dtype=dtype)
        head = low_rank(last, width, rank=rank)
    else:
        head = linear_head(width, outputs, kind=kind, dtype=dtype)
    return functional(encoder, head, names, kind=kind, x_axis=x_axis)
