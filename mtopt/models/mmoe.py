"""Multi-gate mixture of experts."""

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


def mmoe(
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
    r"""MLPs that all tasks share, mixed for each task by a gate that reads the input.

    .. math:: y_k = h_k\Big(\sum_e \mathrm{softmax}(x G_k + b_k)_e\, f_e(x)\Big)

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      experts: their number, at least 1; 8 as in the paper.
      hidden: the widths of each expert's layers, at least one.
      tower: the width of a hidden layer of each task behind the mixture; 0: none.
      top: the experts that a sample is mixed of, those with the largest logits; None:
        all, as in the paper.
      dropout: the share of an expert's hidden units set to zero in training, in [0, 1).

    Returns:
      The model. Gates and towers are the tasks' own parameters.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import jax
      >>> model = mmoe((8,), names=("a", "b"), kind="binary", outputs=1, experts=3)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate
      Mixture-of-Experts, KDD 2018.

    Differences from the paper:
      Layers start as torch's do; the paper's hyper-parameters were tuned for each data
      set. Gates have a bias.
    """
    expect(experts >= 1, "experts", experts, "at least 1")
    expert, width, _ = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    features = math.prod(input_shape)
    head = tower_head(width, tower, outputs, kind=kind, dtype=dtype)
    return functional(
        stacked(expert, experts),
        gated(head, softmax_gate(features, experts, top=top, dtype=dtype)),
        names,
        kind=kind,
        x_axis=x_axis,
    )
