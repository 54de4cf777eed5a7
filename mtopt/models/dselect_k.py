"""Shared experts, of which each task comes to read a few."""

import math

import jax.numpy as jnp
from jax.typing import DTypeLike

from mtopt.errors import expect
from mtopt.models.experts import experts as stacked
from mtopt.models.experts import gated
from mtopt.models.functional import Model, functional
from mtopt.models.heads import tower_head
from mtopt.models.mlp import mlp_encoder
from mtopt.models.selector_gate import selector_gate


def dselect_k(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    experts: int = 8,
    selectors: int = 2,
    per_sample: bool = False,
    gamma: float = 1.0,
    hidden: tuple[int, ...] = (64,),
    tower: int = 0,
    dropout: float = 0.0,
) -> Model:
    r"""MLPs that all tasks share, of which each task comes to select a few.

    .. math:: y_k = h_k\Big(\sum_e w_{k,e}\, f_e(x)\Big)

    with the weights of :func:`mtopt.models.selector_gate.selector_gate`: at first all
    take part, and as its selectors decide, all but k weigh exactly 0.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      experts: E, their number, at least 2.
      selectors: the largest number of experts that a task ends with, 1 to E.
      per_sample: a choice for every sample by its input, in place of one for the task.
      gamma: the width of the selectors' smooth step, above 0; the smaller, the sooner
        they decide. Models that differ in it alone have the same parameters.
      hidden: the widths of each expert's layers, at least one.
      tower: the width of a hidden layer of each task behind the mixture; 0: none.
      dropout: the share of an expert's hidden units set to zero in training, in [0, 1).

    Returns:
      The model. Gates and towers are the tasks' own parameters.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import jax
      >>> model = dselect_k((8,), names=("a", "b"), kind="binary", outputs=1)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Hazimeh et al., DSelect-k: Differentiable Selection in the Mixture of Experts with
      Applications to Multi-Task Learning, NeurIPS 2021, arXiv 2106.03760.

    Differences from the paper:
      Layers start as torch's do, and those of
      :func:`mtopt.models.selector_gate.selector_gate`.
    """
    expect(experts >= 2, "experts", experts, "at least 2 to choose from")
    expert, width, _ = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    features = math.prod(input_shape)

    gate = selector_gate(
        experts,
        selectors,
        features=features if per_sample else None,
        gamma=gamma,
        dtype=dtype,
    )
    head = tower_head(width, tower, outputs, kind=kind, dtype=dtype)
    return functional(
        stacked(expert, experts),
        gated(head, gate),
        names,
        kind=kind,
        x_axis=x_axis,
    )
