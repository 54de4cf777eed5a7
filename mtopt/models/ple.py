"""Progressive layered extraction: levels of shared experts and experts of tasks."""

import math

import jax
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
from mtopt.models.level import Level
from mtopt.models.mlp import MLP, check_layers
from mtopt.models.noted import gate
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack
from mtopt.task import Task


class Levels(nnx.Module):
    """All levels but the last experts of the tasks, which are the heads' own."""

    def __init__(
        self, levels: list[Level], experts: nnx.Module, dtype: DTypeLike
    ) -> None:
        self.levels = nnx.List(levels)
        self.experts = experts
        self.dtype = dtype

    def __call__(self, x: Num[Array, "b ..."], task: Task) -> Float[Array, "b _ width"]:
        """What the task has of the last level but one, and the last shared experts.

        In one array: what changes a representation as a whole takes it as it is.
        """
        x = as_floats(x, self.dtype)
        common = x.reshape(x.shape[0], -1)
        *below, last = self.levels
        tasks = None  # until there is one input of each
        for level in below:
            own = level.own(common) if tasks is None else level.own.each(tasks)
            shared = level.shared(common)
            gates = level.gates(common) if tasks is None else level.gates.each(tasks)
            spread = jnp.broadcast_to(
                shared[:, None], (*own.shape[:2], *shared.shape[1:])
            )
            every = jnp.concatenate([own, spread], axis=2)
            tasks = jax.vmap(mixed, in_axes=1, out_axes=1)(gates, every)
            common = level.of_all(common, own, shared)
        own = last.own(common) if tasks is None else last.own.each(tasks)
        shared = last.shared(common)
        read = common if tasks is None else tasks[:, task.index]
        mine = last.of_one(task.index, read, own, shared)
        common = last.of_all(common, own, shared)
        return jnp.concatenate([mine[:, None], self.experts(common)], axis=1)


class Extraction(nnx.Module):
    """The last level of one task, and what stands behind it."""

    def __init__(
        self,
        expert: Factory,
        head: Factory,
        width: int,
        counts: tuple[int, int],
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.experts = Stack(expert, counts[0], rngs)
        self.gate = softmax_gate(width, sum(counts), dtype=dtype)(rngs)
        self.head = head(rngs)

    @gate
    def weights(self, own: Float[Array, "b width"]) -> Float[Array, "b E"]:
        """What the gate gives each expert, the task's own first."""
        return self.gate(own)

    def __call__(self, z: Float[Array, "b _ width"]) -> Array:
        """The head on the mixture."""
        own, shared = z[:, 0], z[:, 1:]
        every = jnp.concatenate([self.experts(own), shared], axis=1)
        return self.head(mixed(self.weights(own), every))


def ple(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    levels: int = 2,
    experts: int = 2,
    own_experts: int = 2,
    hidden: tuple[int, ...] = (64,),
    tower: int = 0,
    dropout: float = 0.0,
) -> Model:
    r"""Levels of experts, some shared and some of each task, more separate upwards.

    With :math:`E_k` the experts of task k, :math:`E_s` the shared ones, and
    :math:`x_k^0 = x_s^0 = x`, level l mixes by softmax gates

    .. math::
       x_k^l &= g_k^l(x_k^{l-1}) \cdot [E_k^l(x_k^{l-1}), E_s^l(x_s^{l-1})] \\
       x_s^l &= g_s^l(x_s^{l-1}) \cdot [E_1^l(x_1^{l-1}), \dots, E_K^l(x_K^{l-1}),
       E_s^l(x_s^{l-1})]

    and the tower of task k reads :math:`x_k^L`. Through :math:`x_s` all losses reach
    the experts of all tasks below the last level: these are shared parameters, and a
    method sees a gradient of theirs from every task.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      levels: L, at least 2; :func:`mtopt.models.cgc.cgc` is one.
      experts: shared ones of a level, at least 1.
      own_experts: of each task in a level, at least 1.
      hidden: the widths of each expert's layers, at least one.
      tower: the width of a hidden layer of each task behind the levels; 0: none.
      dropout: the share of an expert's hidden units set to zero in training, in [0, 1).

    Returns:
      The model. The last level's gates and own experts are the tasks' own parameters.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> model = ple((8,), names=("a", "b"), kind="binary", outputs=1, hidden=(4,))
      >>> params, model_state = model.init(jax.random.key(0))
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning
      (MTL) Model for Personalized Recommendations, RecSys 2020.

    Differences from the paper:
      Layers start as torch's do; the paper tuned its hyper-parameters on its data.
      Gates have a bias.
    """
    expect(levels >= 2, "levels", levels, "at least 2; a single one is cgc")
    expect(experts >= 1, "experts", experts, "at least 1")
    expect(own_experts >= 1, "own_experts", own_experts, "at least 1")
    check_layers(hidden, dropout)
    features, width = math.prod(input_shape), hidden[-1]
    head = tower_head(width, tower, outputs, kind=kind, dtype=dtype)
    counts = len(names), own_experts, experts

    def expert(features: int) -> Factory:
        return lambda rngs: MLP(features, hidden, dropout, dtype=dtype, rngs=rngs)

    def encoder(rngs: nnx.Rngs) -> Levels:
        read = (features, *[width] * (levels - 2))
        below = [Level(expert(n), n, counts, dtype=dtype, rngs=rngs) for n in read]
        return Levels(below, Stack(expert(width), experts, rngs), dtype)

    return functional(
        encoder,
        lambda rngs: Extraction(
            expert(width), head, width, (own_experts, experts), dtype=dtype, rngs=rngs
        ),
        names,
        kind=kind,
        x_axis=x_axis,
        per_task=True,
    )
