"""Experts at every depth of a shared network, read by a memory of each task."""

import itertools
import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from mtopt.beside import Beside
from mtopt.errors import expect
from mtopt.models.experts import mixed
from mtopt.models.functional import Model, functional
from mtopt.models.gates import softmax_gate
from mtopt.models.heads import linear_head
from mtopt.models.layers import dense
from mtopt.models.mlp import MLP, check_layers
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack


class Depths(nnx.Module):
    """An MLP with experts behind each of its layers."""

    def __init__(
        self,
        features: int,
        hidden: tuple[int, ...],
        experts: int,
        width: int,
        dropout: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.layers = nnx.List(
            MLP(before, (after,), dropout, dtype=dtype, rngs=rngs)
            for before, after in itertools.pairwise((features, *hidden))
        )

        def of_depth(after: int) -> Factory:
            return lambda rngs: MLP(after, (width,), 0.0, dtype=dtype, rngs=rngs)

        self.experts = nnx.List(
            Stack(of_depth(after), experts, rngs) for after in hidden
        )

    def __call__(self, x: Num[Array, "b ..."]) -> dict[str, Any]:
        """What experts say ``[b, L, E, width]``, and beside it what each depth read."""
        said, read = [], []
        for layer, experts in zip(self.layers, self.experts, strict=True):
            x = layer(x)
            said.append(experts(x))
            read.append(x)
        # One array: saliencies are of representations that are.
        return {"experts": jnp.stack(said, axis=1), "gate": Beside(read)}


class Memory(nnx.Module):
    """What a task keeps of every depth, then its head."""

    def __init__(
        self,
        make: Factory,
        hidden: tuple[int, ...],
        experts: int,
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        def square(use_bias: bool) -> nnx.Linear:
            return dense(width, width, dtype=dtype, rngs=rngs, use_bias=use_bias)

        first, *later = hidden
        # There is nothing to read at the first depth.
        self.gates = nnx.List(
            softmax_gate(size, count, dtype=dtype)(rngs)
            for size, count in (
                (first, experts),
                *((size + width, experts + 1) for size in later),
            )
        )
        self.reads = nnx.List(square(use_bias=True) for _ in later)
        self.writes = nnx.List(square(use_bias=False) for _ in hidden)
        self.head = make(rngs)

    def __call__(self, z: dict[str, Any]) -> Array:
        """The head on what the memory holds in the end."""
        said, seen = z["experts"], z["gate"]
        memory = self.writes[0](mixed(self.gates[0](seen[0]), said[:, 0]))
        for depth, read in enumerate(self.reads, start=1):
            inputs = jnp.concatenate([seen[depth], memory], axis=1)
            weights = self.gates[depth](inputs)
            own = weights[:, -1:].astype(memory.dtype) * read(memory)
            found = mixed(weights[:, :-1], said[:, depth]) + own
            memory = memory + self.writes[depth](found)
        return self.head(memory)


def task_expert(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    hidden: tuple[int, ...] = (128, 128),
    experts: int = 4,
    width: int = 64,
    dropout: float = 0.0,
) -> Model:
    r"""A shared MLP with experts at every depth, and a memory of each task that reads.

    With :math:`F_l` the layers of the MLP, of every depth l

    .. math:: f_k^l &= \sum_e w_{k,e}^l\, X_e^l + w_{k,E+1}^l\, R_k^l(M_k^{l-1}),
              \qquad X_e^l = \mathrm{relu}(F_l W_e^l) \\
              w_k^l &= \mathrm{softmax}(G_k^l [F_l; M_k^{l-1}]), \qquad
              M_k^l = M_k^{l-1} + U_k^l f_k^l

    without R and memory at the first, and :math:`y_k = h_k(M_k^L)`. The memory reads
    what is shared and never writes to it, so that experts run once for all tasks. It
    begins anew with every sample.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      hidden: the widths of the shared layers, at least one; each is a depth.
      experts: E, their number at each depth, at least 1.
      width: of the experts and the memory, at least 1.
      dropout: the share of the shared hidden units set to zero in training, in [0, 1).

    Returns:
      The model. Gates, R, U and heads are the tasks' own parameters; the representation
      is what the experts of all depths say.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import jax
      >>> model = task_expert((8,), names=("a", "b"), kind="binary", outputs=1)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Ye and Xu, TaskExpert: Dynamically Assembling Multi-Task Representations with
      Memorial Mixture-of-Experts, ICCV 2023, arXiv 2307.15324.

    Differences from the paper:
      Its code is not published, and the layers here are inferred from its figures. One
      vector stands for the tokens of an image. Gates have no gradient into the shared
      layers that they read, and no weight for the memory at the first depth, where it
      is empty.
    """
    expect(experts >= 1, "experts", experts, "at least 1")
    expect(width >= 1, "width", width, "at least 1")
    check_layers(hidden, dropout)
    features = math.prod(input_shape)
    head = linear_head(width, outputs, kind=kind, dtype=dtype)
    return functional(
        lambda rngs: Depths(
            features, hidden, experts, width, dropout, dtype=dtype, rngs=rngs
        ),
        lambda rngs: Memory(head, hidden, experts, width, dtype=dtype, rngs=rngs),
        names,
        kind=kind,
        x_axis=x_axis,
    )
