"""Field gates: each task weighs the fields of the input, below what all share."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import expect, expect_number
from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.layers import as_floats
from mtopt.models.mlp import mlp_encoder
from mtopt.models.squeeze_excite import SqueezeExcite
from mtopt.task import Task


class Gated(nnx.Module):
    """An MLP on the fields as a task weighs them."""

    def __init__(self, network: nnx.Module, dtype: DTypeLike) -> None:
        self.network = network
        self.dtype = dtype

    def __call__(self, x: Num[Array, "b F ..."], task: Task) -> Float[Array, "b width"]:
        """The last hidden layer."""
        x = as_floats(x, self.dtype)
        fields = x.reshape(*x.shape[:2], -1)
        weights = 2 * jax.nn.sigmoid(task.own(fields))  # all 1 at first
        return self.network(fields * weights[..., None])


def field_gate(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    hidden: tuple[int, ...] = (128, 128),
    dropout: float = 0.0,
    reduction: float = 2.0,
) -> Model:
    r"""A shared MLP on inputs whose fields each task weighs for itself.

    With :math:`\bar x` the mean of every field,

    .. math::
       w_k = 2\sigma(W_k^2 \, \mathrm{relu}(W_k^1 \bar x)) \qquad
       z_k = \mathrm{MLP}(w_k \odot x)

    Since the gates stand below all shared layers, the network runs once for each task.

    Args:
      input_shape: ``(F,)``, numbers that are a field each, or ``(F, d)``, fields of d
        numbers; more axes are one. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      hidden: the widths of the hidden layers, at least one.
      dropout: the share of hidden units set to zero in training, in [0, 1).
      reduction: F over the hidden units of a gate, at least 1 unit; 1 or more.

    Returns:
      The model. Gates are the tasks' own parameters; at first they let all through, so
      that it starts as :func:`mtopt.models.mlp.mlp` does.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> model = field_gate((8,), names=("a", "b"), kind="binary", outputs=1)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["tasks"].values["own"]["excite"]["kernel"].shape
      (2, 4, 8)
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Liu et al., Deep Task-specific Bottom Representation Network for Multi-Task
      Recommendation, CIKM 2023, arXiv 2308.05996: its representation refinement.

    Differences from the paper:
      Its other module, which extracts interests from sequences of behaviour, is not
      here. Gates start as the identity.
    """
    make, width, _ = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    expect(len(input_shape) >= 1, "input_shape", input_shape, "at least one axis")
    expect_number("reduction", reduction, at_least=1)
    fields = input_shape[0]
    squeezed = max(round(fields / reduction), 1)
    return functional(
        lambda rngs: Gated(make(rngs), dtype),
        linear_head(width, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
        per_task=True,
        own=lambda rngs: SqueezeExcite(
            fields,
            squeezed,
            start=nnx.initializers.zeros_init(),
            dtype=dtype,
            rngs=rngs,
        ),
    )
