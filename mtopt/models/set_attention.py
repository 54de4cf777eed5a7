"""Attention among the fields of a table, at a cost that grows as their number."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError, expect
from mtopt.models.attention import AttentionBlock, check_attention
from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.layers import as_floats, uniform
from mtopt.models.pure import Factory
from mtopt.models.squeeze_excite import SqueezeExcite


class Fields(nnx.Module):
    r"""Every field of a table as a vector, :math:`b_f + \sum_i x_i V_{f,i}`.

    A number is multiplied by a vector of its own; of a category's one-hot columns that
    is the vector of the category.

    Args:
      sizes: how many columns each field has, one after another.
      width: of a vector.
      dtype: what it computes in.
      rngs: of the parameters.
    """

    def __init__(
        self, sizes: tuple[int, ...], width: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        draw = uniform(1)
        shapes = (sum(sizes), width), (len(sizes), width)
        self.columns, self.bias = (
            nnx.Param(draw(rngs.params(), shape, jnp.float32)) for shape in shapes
        )
        self.sizes = sizes
        self.dtype = dtype

    def __call__(self, x: Num[Array, "b ..."]) -> Float[Array, "b F d"]:
        """The vectors of the fields of flattened inputs."""
        x = as_floats(x, self.dtype).reshape(x.shape[0], -1)
        if x.shape[1] != sum(self.sizes):
            raise UserError(
                f"inputs of {x.shape[1]} numbers: expected {sum(self.sizes)}, as many "
                "as input_shape has"
            )
        each = x[..., None] * self.columns[...].astype(self.dtype)[None]
        if max(self.sizes) > 1:
            field = np.repeat(np.arange(len(self.sizes)), self.sizes)
            each = jax.ops.segment_sum(
                each.swapaxes(0, 1),
                jnp.asarray(field),
                len(self.sizes),
                indices_are_sorted=True,
            ).swapaxes(0, 1)
        return each + self.bias[...].astype(self.dtype)[None]


class InducedAttention(nnx.Module):
    r"""Vectors that read each other through m learned points.

    .. math:: H = \mathrm{MAB}(I, X), \qquad X' = \mathrm{MAB}(X, H)

    with MAB :class:`mtopt.models.attention.AttentionBlock`. The points read all F
    vectors and these the points: F m products in place of F squared. Vectors in another
    order come out in that order.

    Args:
      points: m.
      width: of all vectors.
      heads: of the attention.
      dropout: as of the blocks.
      dtype: what it computes in.
      rngs: of the parameters and of dropout.

    References:
      Lee et al., Set Transformer, ICML 2019, arXiv 1810.00825.
    """

    def __init__(
        self,
        points: int,
        width: int,
        heads: int,
        dropout: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.points = nnx.Param(
            jax.random.normal(rngs.params(), (points, width), jnp.float32)
        )
        make = {"dtype": dtype, "rngs": rngs}
        self.gather = AttentionBlock(width, heads, dropout, **make)
        self.spread = AttentionBlock(width, heads, dropout, **make)

    def __call__(self, x: Float[Array, "b F d"]) -> Float[Array, "b F d"]:
        """The vectors, having read each other."""
        points = self.points[...].astype(x.dtype)[None]
        points = jnp.broadcast_to(points, (x.shape[0], *points.shape[1:]))
        return self.spread(x, self.gather(points, x))


class SetAttention(nnx.Module):
    """Fields, induced attention among them, a gate; see :func:`set_attention`."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        *,
        width: int,
        layers: int,
        points: int,
        heads: int,
        gate: int,
        dropout: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        make: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.fields = Fields(sizes, width, **make)
        self.attention = nnx.List(
            InducedAttention(points, width, heads, dropout, **make)
            for _ in range(layers)
        )
        self.norm = nnx.LayerNorm(width, **make)
        self.gate = SqueezeExcite(len(sizes), gate, start=uniform(gate), **make)

    def __call__(self, x: Num[Array, "b ..."]) -> Float[Array, "b F d"]:
        """A vector of every field."""
        z = self.fields(x)
        for layer in self.attention:
            z = layer(z)
        z = self.norm(z)
        return z * jax.nn.sigmoid(self.gate(z))[..., None]


class Indicated(nnx.Module):
    """A mean of fields by a task's indicator, then a head; see :func:`indicated`."""

    def __init__(self, make: Factory, width: int, rngs: nnx.Rngs) -> None:
        draw = jax.random.normal(rngs.params(), (width,), jnp.float32)
        self.indicator = nnx.Param(draw)
        self.head = make(rngs)

    def __call__(self, fields: Float[Array, "b F d"]) -> Array:
        """The head on the fields that the indicator looks for."""
        scores = jnp.einsum(
            "bfd,d->bf", fields, self.indicator[...].astype(fields.dtype)
        )
        scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
        weights = jax.nn.softmax(scores / math.sqrt(fields.shape[-1]))
        return self.head(jnp.einsum("bf,bfd->bd", weights.astype(fields.dtype), fields))


def indicated(head: Factory, width: int) -> Factory:
    r"""A head that first reads the fields that its task looks for.

    .. math:: p_k = \sum_f \mathrm{softmax}_f\Big(\frac{X v_k}{\sqrt d}\Big)_f X_f

    Args:
      head: makes the part of one task behind it, ``[b, d] -> outputs``.
      width: d, of a field, 1 or more.

    Returns:
      What makes a module of fields ``[b, F, d]``. The indicator v is the task's own.

    Raises:
      UserError: for another width.

    Example:
      >>> head = indicated(lambda rngs: nnx.Linear(4, 3, rngs=rngs), 4)
      >>> head(nnx.Rngs(0))(jnp.ones((5, 6, 4))).shape
      (5, 3)
    """
    expect(width >= 1, "width", width, "1 or more")
    return lambda rngs: Indicated(head, width, rngs)


def set_attention(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    fields: tuple[int, ...] | None = None,
    width: int = 32,
    layers: int = 1,
    points: int = 8,
    heads: int = 4,
    gate: int = 16,
    dropout: float = 0.0,
) -> Model:
    r"""The columns of a table read each other; every task reads those it looks for.

    Each field becomes a vector (:class:`Fields`), all of them read each other through a
    few learned points (:class:`InducedAttention`), and a gate says how much of each
    goes on (:class:`~mtopt.models.squeeze_excite.SqueezeExcite`). A task has an
    indicator :math:`v_k` of its own, by which it reads the fields X, and a linear head:

    .. math:: y_k = h_k\Big(\sum_f \mathrm{softmax}_f(X v_k / \sqrt d)_f X_f\Big)

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      fields: how many of the inputs each field has, one after another, so that the
        one-hot columns of a category are one field; None: one each.
      width: d, of the vectors, 1 or more.
      layers: how often the fields read each other, 1 or more.
      points: m, through which they do, 1 or more.
      heads: of the attention; they divide the width.
      gate: the width of the gate's hidden layer, 1 or more.
      dropout: the share of what the attention adds that is set to zero in training, in
        [0, 1).

    Returns:
      The model; the representation is ``[B, F, d]``.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> model = set_attention((7,), names=("a", "b"), kind="binary", outputs=1,
      ...                       fields=(1, 1, 5), width=8)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> model.predict(params, model_state, jnp.zeros((5, 7))).shape
      (2, 5)

    References:
      Tao et al., Adaptive Pattern Extraction Multi-Task Learning for Multi-Step
      Conversion Estimations, 2023, arXiv 2301.02494.

    Differences from the paper:
      After its abstract, which has no equations. The normalisation of a block stands in
      front of it, and one more behind the last. The chain of conversions is left out.
    """
    columns = math.prod(input_shape)
    sizes = (1,) * columns if fields is None else fields
    expect(
        bool(sizes) and min(sizes) >= 1 and sum(sizes) == columns,
        "fields",
        fields,
        f"numbers of 1 or more that sum to the {columns} of input_shape",
    )
    check_attention(width, heads, layers, dropout)
    expect(points >= 1, "points", points, "1 or more")
    expect(gate >= 1, "gate", gate, "1 or more")
    return functional(
        lambda rngs: SetAttention(
            sizes,
            width=width,
            layers=layers,
            points=points,
            heads=heads,
            gate=gate,
            dropout=dropout,
            dtype=dtype,
            rngs=rngs,
        ),
        indicated(linear_head(width, outputs, kind=kind, dtype=dtype), width),
        names,
        kind=kind,
        x_axis=x_axis,
    )
