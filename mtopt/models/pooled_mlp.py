"""One multi-layer perceptron for all tasks, as if their data were pooled."""

import math

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.models.functional import Model, functional
from mtopt.models.heads import columns, linear_head
from mtopt.models.mlp import MLP, check_layers
from mtopt.models.outlier_gate import branches, gated


class Offset(nnx.Module):
    """Adds a number to every output: all that a task has of its own."""

    def __init__(self, outputs: int) -> None:
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, outputs: Float[Array, "b C"]) -> Float[Array, "b C"]:
        """The outputs, shifted."""
        return outputs + self.bias[...].astype(outputs.dtype)[None]


def pooled_mlp(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    hidden: tuple[int, ...] = (128, 128),
    outlier_gate: bool = False,
) -> Model:
    """All layers shared, the last one included; a task owns an offset of the outputs.

    For tasks that ask the same question of different data, as hospitals, users or
    annotators do. No head can undo what another task does to the output, so that here
    a wrong task harms the others most.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of the output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in.
      hidden: the widths of the hidden layers, at least one.
      outlier_gate: two such networks, and a gate of every task between them; see
        :func:`mtopt.models.outlier_gate.gated`.

    Returns:
      The model.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import jax
      >>> model = pooled_mlp((8, 8), names=("a", "b"), kind="classification",
      ...                    outputs=10, hidden=(32,), outlier_gate=True)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> sorted(params["shared"]), sorted(params["tasks"].values)
      (['majority', 'outliers'], ['head', 'outlier_logit'])
    """
    check_layers(hidden)

    def network(rngs: nnx.Rngs) -> nnx.Sequential:
        layers = MLP(math.prod(input_shape), hidden, 0.0, dtype=dtype, rngs=rngs)
        last = linear_head(hidden[-1], outputs, kind=kind, dtype=dtype)
        return nnx.Sequential(layers, last(rngs))

    def offset(rngs: nnx.Rngs) -> Offset:
        return Offset(columns(kind, outputs))

    parts = (branches(network), gated(offset)) if outlier_gate else (network, offset)
    return functional(*parts, names, kind=kind, x_axis=x_axis)
