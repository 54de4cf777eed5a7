"""A multi-layer perceptron."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError, expect
from mtopt.models.functional import Model, functional
from mtopt.models.layers import as_floats, dense
from mtopt.models.staged import Encoder, through


class MLP(nnx.Module):
    """Hidden layers with relu on the flattened input; see :func:`mlp`."""

    def __init__(
        self,
        features: int,
        hidden: tuple[int, ...],
        dropout: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        widths = (features, *hidden)
        self.layers = nnx.List(
            dense(before, after, dtype=dtype, rngs=rngs)
            for before, after in zip(widths, hidden, strict=False)
        )
        self.dropouts = nnx.List(nnx.Dropout(dropout, rngs=rngs) for _ in hidden)
        self.features = features
        self.dtype = dtype

    @property
    def stages(self) -> list[Callable[[Array], Array]]:
        """One a layer; without any, the inputs as vectors."""
        layers = [
            functools.partial(_hidden, layer, dropout)
            for layer, dropout in zip(self.layers, self.dropouts, strict=True)
        ]
        if not layers:
            return [self._flat]
        return [lambda x: layers[0](self._flat(x)), *layers[1:]]

    def __call__(self, x: Num[Array, "b ..."]) -> Float[Array, "b width"]:
        """The last hidden layer."""
        return through(self, x)

    def _flat(self, x: Num[Array, "b ..."]) -> Float[Array, "b features"]:
        x = as_floats(x, self.dtype)
        x = x.reshape(x.shape[0], -1)
        if x.shape[1] != self.features:
            raise UserError(
                f"inputs of {x.shape[1]} numbers: expected {self.features}, as many as "
                "input_shape has"
            )
        return x


def _hidden(layer: nnx.Linear, dropout: nnx.Dropout, x: Array) -> Array:
    return dropout(jax.nn.relu(layer(x)))


def mlp_encoder(
    input_shape: tuple[int, ...],
    *,
    dtype: DTypeLike,
    hidden: tuple[int, ...] = (128, 128),
    dropout: float = 0.0,
) -> Encoder:
    """What :func:`mlp` shares."""
    check_layers(hidden, dropout)
    features = math.prod(input_shape)
    return Encoder(
        lambda rngs: MLP(features, hidden, dropout, dtype=dtype, rngs=rngs), hidden[-1]
    )


def check_layers(hidden: tuple[int, ...], dropout: float = 0.0) -> None:
    """Raises unless these can be the options of an :class:`MLP`.

    Args:
      hidden: the widths of its layers.
      dropout: the share of hidden units set to zero.

    Raises:
      UserError: for no width, one below 1, a number in place of several, or another
        share.
    """
    widths = isinstance(hidden, Sequence) and len(hidden) > 0 and min(hidden) >= 1
    expected = "at least one width, each 1 or more, as in (64, 32) or (64,)"
    expect(widths, "hidden", hidden, expected)
    expect(0 <= dropout < 1, "dropout", dropout, "a share in [0, 1)")


def mlp(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    hidden: tuple[int, ...] = (128, 128),
    dropout: float = 0.0,
) -> Model:
    """Fully connected layers with relu, shared by all tasks, and K linear heads.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in, e.g. ``jnp.bfloat16``. Parameters, losses and
        gradients are float32 in any case.
      hidden: the widths of the hidden layers, at least one.
      dropout: the share of hidden units set to zero in training, in [0, 1).

    Returns:
      The model. All weights and biases start as torch's would:
      :func:`mtopt.models.layers.uniform`.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> model = mlp((8, 8), names=("left", "right"), kind="classification",
      ...             outputs=10, hidden=(32,))
      >>> params, model_state = model.init(jax.random.key(0))
      >>> model.predict(params, model_state, jnp.zeros((5, 8, 8))).shape
      (2, 5, 10)
    """
    make, width, head = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    head = head(width, outputs, kind=kind, dtype=dtype)
    return functional(make, head, names, kind=kind, x_axis=x_axis)
