"""HoME: a hierarchy of experts, of all tasks, of groups of tasks, and of each."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError, expect, expect_one_of
from mtopt.models.experts import mixed
from mtopt.models.functional import Model, functional
from mtopt.models.gates import softmax_gate
from mtopt.models.heads import tower_head
from mtopt.models.layers import BatchNorm, as_floats, dense
from mtopt.models.level import Level
from mtopt.models.mlp import MLP, check_layers
from mtopt.models.noted import gate
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack
from mtopt.per_task import in_words
from mtopt.task import Task

NORMS = ("batch", "layer", "none")


class Expert(nnx.Module):
    r"""Swish(norm(layer(MLP(x * feature gate)))); see :func:`home`."""

    def __init__(
        self,
        features: int,
        hidden: tuple[int, ...],
        norm: str,
        rank: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.gates = rank > 0
        if self.gates:
            self.down = dense(features, rank, dtype=dtype, rngs=rngs, use_bias=False)
            self.up = nnx.Param(jnp.zeros((rank, features), jnp.float32))
        *below, width = hidden
        self.below = (
            MLP(features, tuple(below), 0.0, dtype=dtype, rngs=rngs) if below else None
        )
        before = below[-1] if below else features
        # A bias would be subtracted again by the normalisation of a batch.
        biased = norm != "batch"
        self.layer = dense(before, width, dtype=dtype, rngs=rngs, use_bias=biased)
        if norm == "batch":
            self.norm = BatchNorm(width)
        elif norm == "layer":
            self.norm = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        else:
            self.norm = None

    def __call__(self, x: Float[Array, "b features"]) -> Float[Array, "b width"]:
        """What the expert makes of the features that its gate lets through."""
        if self.gates:
            # B is zero at first: the gate is the identity.
            x = x * (2 * jax.nn.sigmoid(self.down(x) @ self.up[...].astype(x.dtype)))
        x = self.layer(x if self.below is None else self.below(x))
        return jax.nn.silu(x if self.norm is None else self.norm(x))


class OwnExperts(nnx.Module):
    """What a task has to itself in the last level."""

    def __init__(
        self,
        expert: Factory | None,
        features: int,
        counts: tuple[int, int],
        *,
        self_gate: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        own, others = counts
        self.experts = None if expert is None else Stack(expert, own, rngs)
        self.gate = softmax_gate(features, own + others, dtype=dtype)(rngs)
        self.self_gate = (
            self_weights(features, own, dtype=dtype)(rngs) if self_gate else None
        )

    @gate
    def weights(self, x: Float[Array, "b features"]) -> Float[Array, "b E"]:
        """What the gate gives each expert, the task's own first."""
        return self.gate(x)

    def __call__(
        self, x: Float[Array, "b features"], others: Float[Array, "b m width"]
    ) -> Float[Array, "b width"]:
        """The mixture of its own experts and of those that others use, too."""
        if self.experts is None:
            return mixed(self.weights(x), others)
        own = self.experts(x)
        found = mixed(self.weights(x), jnp.concatenate([own, others], axis=1))
        return (
            found if self.self_gate is None else found + mixed(self.self_gate(x), own)
        )


def self_weights(features: int, count: int, *, dtype: DTypeLike) -> Factory:
    """What a task's own experts are added with: a softmax over one would be open."""
    if count > 1:
        return softmax_gate(features, count, dtype=dtype)
    return lambda rngs: nnx.Sequential(
        dense(features, 1, dtype=dtype, rngs=rngs), jax.nn.sigmoid
    )


class HoME(nnx.Module):
    """The experts that several tasks use; see :func:`home`."""

    def __init__(
        self,
        group_of: Sequence[int],
        meta: Level | None,
        groups: Stack,
        shared: Stack,
        dtype: DTypeLike,
    ) -> None:
        self.group_of = tuple(group_of)
        self.meta = meta
        self.groups = groups
        self.shared = shared
        self.dtype = dtype

    def __call__(self, x: Num[Array, "b ..."], task: Task) -> Float[Array, "b width"]:
        """The last mixture of the task."""
        x = as_floats(x, self.dtype)
        x = x.reshape(x.shape[0], -1)
        group = jnp.asarray(np.array(self.group_of, np.int32))[task.index]
        if self.meta is not None:
            own, shared = self.meta.own(x), self.meta.shared(x)
            of_group = self.meta.of_one(group, x, own, shared)
            of_all = self.meta.of_all(x, own, shared)
            x = jnp.concatenate([of_group, of_all], axis=1)
        of_group = self.groups.at(group, x)
        return task.own(x, jnp.concatenate([of_group, self.shared(x)], axis=1))


def home(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    groups: tuple[tuple[str, ...], ...] | None = None,
    levels: int = 2,
    experts: int = 1,
    group_experts: int = 1,
    own_experts: int = 1,
    hidden: tuple[int, ...] = (64,),
    tower: int = 0,
    rank: int = 8,
    self_gate: bool = True,
    norm: str = "batch",
) -> Model:
    r"""Experts of all tasks, of groups of tasks and of each task, normalised and gated.

    An expert is :math:`E(x) = \mathrm{swish}(\mathrm{BN}(\mathrm{MLP}(x \odot
    2\sigma(x A B))))`. With :math:`E_S, E_g, E_k` those of all tasks, of group g and of
    task k, and softmax gates G,

    .. math::
       z_g &= G_g(x) \cdot [E_g(x), E_S(x)] \\
       z_S &= G_S(x) \cdot [E_1(x), \dots, E_G(x), E_S(x)] \\
       r &= [z_{g(k)}, z_S] \\
       h_k &= G_k(r) \cdot [E_k(r), E_{g(k)}(r), E_S(r)] + S_k(r) \cdot E_k(r)

    where the levels have experts of their own, and the self gate S of a single expert
    is a sigmoid, of several a softmax. The tower of task k reads :math:`h_k`. A task
    reaches no expert of another group in the last level; through :math:`z_S` it reaches
    those of the first.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, normalisation, losses and gradients
        are float32.
      groups: tuples of task names, each name in one of them: tasks that are thought
        related. None: one group of all.
      levels: 2, or 1 for the last alone, with r = x.
      experts: of all tasks, in each level, at least 1.
      group_experts: of each group, in each level, at least 1.
      own_experts: of each task, in the last level; 0: none.
      hidden: the widths of each expert's layers, at least one.
      tower: the width of a hidden layer of each task behind the levels; 0: none.
      rank: of the feature gates A B, which start as the identity; 0: none.
      self_gate: whether a task's own experts are also added as they are.
      norm: of an expert's last layer: ``"batch"`` as in the paper, ``"layer"`` or
        ``"none"``.

    Returns:
      The model. Running statistics are kept for every task, and move once a step.

    Raises:
      UserError: for an option out of range, or groups that are no partition.

    Example:
      >>> model = home((8,), names=("a", "b", "c"), kind="binary", outputs=1,
      ...              groups=(("a", "c"), ("b",)), hidden=(4,))
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["shared"]["groups"]["stack"]["stack"]["layer"]["kernel"].shape
      (2, 1, 8, 4)
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (3, 5)

    References:
      Wang et al., HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at
      Kuaishou, 2024, arXiv 2408.05430.

    Differences from the paper:
      The first level has no self gates, and a feature gate is one low-rank product,
      where the paper mixes several. Of two public versions of others one returns the
      feature gate in place of the gated features, the other normalises each sample by
      itself, which does not align experts (``norm="layer"``).
    """
    check_layers(hidden)
    expect_one_of("norm", norm, NORMS)
    expect(levels in (1, 2), "levels", levels, "1 or 2")
    for option, value, least in (
        ("experts", experts, 1),
        ("group_experts", group_experts, 1),
        ("own_experts", own_experts, 0),
        ("rank", rank, 0),
    ):
        expect(value >= least, option, value, f"at least {least}")
    group_of = _group_of(names, groups)
    count = max(group_of) + 1
    features, width = math.prod(input_shape), hidden[-1]
    read = 2 * width if levels == 2 else features

    def expert(features: int) -> Factory:
        return lambda rngs: Expert(features, hidden, norm, rank, dtype=dtype, rngs=rngs)

    def encoder(rngs: nnx.Rngs) -> HoME:
        counts = count, group_experts, experts
        meta = None
        if levels == 2:
            meta = Level(expert(features), features, counts, dtype=dtype, rngs=rngs)

        def of_group(rngs: nnx.Rngs) -> Stack:
            return Stack(expert(read), group_experts, rngs)

        groups, shared = (
            Stack(of_group, count, rngs),
            Stack(expert(read), experts, rngs),
        )
        return HoME(group_of, meta, groups, shared, dtype)

    def own(rngs: nnx.Rngs) -> OwnExperts:
        return OwnExperts(
            expert(read) if own_experts else None,
            read,
            (own_experts, group_experts + experts),
            self_gate=self_gate and own_experts > 0,
            dtype=dtype,
            rngs=rngs,
        )

    head = tower_head(width, tower, outputs, kind=kind, dtype=dtype)
    return functional(
        encoder, head, names, kind=kind, x_axis=x_axis, per_task=True, own=own
    )


def _group_of(
    names: tuple[str, ...], groups: tuple[tuple[str, ...], ...] | None
) -> list[int]:
    """The place of every task's group."""
    groups = (names,) if groups is None else groups
    told = [name for group in groups for name in group]
    if sorted(told) != list(names):
        raise UserError(
            f"groups is {groups}: expected each of the tasks {in_words(names)} in one "
            "of the groups, as in (('a', 'b'), ('c',))"
        )
    return [
        next(i for i, group in enumerate(groups) if name in group) for name in names
    ]
