"""Customized gate control: shared experts, and experts of each task's own."""

import math

import jax.numpy as jnp
from jax.typing import DTypeLike

from mtopt.errors import expect
from mtopt.models.experts import experts as stacked
from mtopt.models.experts import gated
from mtopt.models.functional import Model, functional
from mtopt.models.gates import softmax_gate
from mtopt.models.heads import tower_head
from mtopt.models.mlp import mlp_encoder


def cgc(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    experts: int = 4,
    own_experts: int = 4,
    hidden: tuple[int, ...] = (64,),
    tower: int = 0,
    dropout: float = 0.0,
) -> Model:
    r"""MLPs that all tasks share and MLPs of each task's own, mixed by its gate.

    .. math:: y_k = h_k\Big(\sum_{e=1}^{E} w_{k,e}(x)\, f_e(x) +
              \sum_{e=1}^{E'} w_{k,E+e}(x)\, f_{k,e}(x)\Big), \qquad
              w_k(x) = \mathrm{softmax}(x G_k + b_k)

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      experts: E, the number of shared ones, at least 1.
      own_experts: E', the number that each task has for itself, at least 1.
      hidden: the widths of each expert's layers, at least one.
      tower: the width of a hidden layer of each task behind the mixture; 0: none.
      dropout: the share of an expert's hidden units set to zero in training, in [0, 1).

    Returns:
      The model. Gates, own experts and towers are the tasks' own parameters: they have
      no rows, no method weighs one task's against another's, and what they say is no
      part of the representation.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import jax
      >>> model = cgc((8,), names=("a", "b"), kind="binary", outputs=1, experts=3,
      ...             own_experts=2)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["tasks"].values["gate"]["kernel"].shape
      (2, 8, 5)
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning
      (MTL) Model for Personalized Recommendations, RecSys 2020. CGC is its one level.

    Differences from the paper:
      Layers start as torch's do, gates have a bias, and all tasks have as many experts
      of their own.
    """
    expect(experts >= 1, "experts", experts, "at least 1")
    more = "at least 1; a model without them is mmoe"
    expect(own_experts >= 1, "own_experts", own_experts, more)
    expert, width, _ = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    features = math.prod(input_shape)

    head = tower_head(width, tower, outputs, kind=kind, dtype=dtype)
    gate = softmax_gate(features, experts + own_experts, dtype=dtype)
    return functional(
        stacked(expert, experts),
        gated(head, gate, own=stacked(expert, own_experts)),
        names,
        kind=kind,
        x_axis=x_axis,
    )
