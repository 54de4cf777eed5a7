"""A mixture of experts by one gate that all tasks share."""

import math

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import expect
from mtopt.models.experts import mixed
from mtopt.models.functional import Model, functional
from mtopt.models.gates import softmax_gate
from mtopt.models.heads import tower_head
from mtopt.models.layers import as_floats
from mtopt.models.mlp import mlp_encoder
from mtopt.models.noted import gate
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack


class Mixture(nnx.Module):
    """Experts, and a gate behind which one representation is left."""

    def __init__(
        self, make: Factory, count: int, gate: Factory, rngs: nnx.Rngs
    ) -> None:
        self.experts = Stack(make, count, rngs)
        self.gate = gate(rngs)

    @gate
    def weights(self, x: Float[Array, "b ..."]) -> Float[Array, "b E"]:
        """What the gate gives each expert."""
        return self.gate(x)

    def __call__(self, x: Num[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The mixture."""
        outputs = self.experts(x)
        return mixed(self.weights(as_floats(x, outputs.dtype)), outputs)


def one_gate(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    experts: int = 8,
    hidden: tuple[int, ...] = (64,),
    tower: int = 0,
    top: int | None = None,
    dropout: float = 0.0,
) -> Model:
    r"""MLPs mixed by one gate for all tasks: the control of :func:`mmoe`.

    .. math:: y_k = h_k\Big(\sum_e \mathrm{softmax}(x G + b)_e\, f_e(x)\Big)

    A gate multiplies what experts say by a function of the input, and that alone may
    help where all tasks are one. What gates of the tasks' own add is what a model with
    them has over this one.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      experts: their number, at least 1.
      hidden: the widths of each expert's layers, at least one.
      tower: the width of a hidden layer of each task behind the mixture; 0: none.
      top: the experts that a sample is mixed of, those with the largest logits; None:
        all.
      dropout: the share of an expert's hidden units set to zero in training, in [0, 1).

    Returns:
      The model. The gate is a shared parameter, and the mixture the representation.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import jax
      >>> model = one_gate((8,), names=("a", "b"), kind="binary", outputs=1, experts=3)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["shared"]["gate"]["kernel"].shape
      (8, 3)
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      OMoE of Ma et al., Modeling Task Relationships in Multi-task Learning with
      Multi-gate Mixture-of-Experts, KDD 2018.

    Differences from the paper:
      Those of :func:`mmoe`.
    """
    expect(experts >= 1, "experts", experts, "at least 1")
    expert, width, _ = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    features = math.prod(input_shape)
    gate = softmax_gate(features, experts, top=top, dtype=dtype)

    return functional(
        lambda rngs: Mixture(expert, experts, gate, rngs),
        tower_head(width, tower, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
    )
