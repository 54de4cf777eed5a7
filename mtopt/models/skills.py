"""Skills: experts of which each task uses those that a matrix says, and no other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError, expect
from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.layers import as_floats, dense
from mtopt.models.stack import Stack
from mtopt.per_task import in_words
from mtopt.task import Task

STACK = "skills"


class Skill(nnx.Module):
    """A hidden layer with relu, and back to the width."""

    def __init__(
        self, width: int, hidden: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        self.up = dense(width, hidden, dtype=dtype, rngs=rngs)
        self.down = dense(hidden, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b width"]) -> Float[Array, "b width"]:
        """What the skill adds."""
        return self.down(jax.nn.relu(self.up(x)))


class Layer(nnx.Module):
    """All skills of one depth."""

    def __init__(
        self, width: int, hidden: int, count: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        self.skills = Stack(
            lambda rngs: Skill(width, hidden, dtype=dtype, rngs=rngs), count, rngs
        )
        self.norm = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b width"], active: Array, shares: Array
    ) -> Float[Array, "b width"]:
        """The input and the mean of the active skills, normalised."""
        said = self.skills.some(active, x)
        mean = jnp.einsum("a,ba...->b...", shares.astype(said.dtype), said)
        return self.norm(x + mean)


class SkillNet(nnx.Module):
    """Layers of skills; see :func:`skills`."""

    def __init__(
        self,
        features: int,
        rows: Sequence[tuple[int, ...]],
        sizes: tuple[int, int, int],
        layers: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        width, hidden, count = sizes
        self.first = dense(features, width, dtype=dtype, rngs=rngs)
        self.layers = nnx.List(
            Layer(width, hidden, count, dtype=dtype, rngs=rngs) for _ in range(layers)
        )
        self.rows = tuple(rows)
        self.dtype = dtype

    def __call__(self, x: Num[Array, "b ..."], task: Task) -> Float[Array, "b width"]:
        """The last layer of the task's skills."""
        x = as_floats(x, self.dtype)
        x = self.first(x.reshape(x.shape[0], -1))
        most = max(map(len, self.rows))
        # Rows of one length: a shorter one has its first skill again, with no share.
        places = [row + row[:1] * (most - len(row)) for row in self.rows]
        shares = [
            [1 / len(row)] * len(row) + [0.0] * (most - len(row)) for row in self.rows
        ]
        active = jnp.asarray(np.array(places, np.int32))[task.index]
        weights = jnp.asarray(np.array(shares))[task.index]
        for layer in self.layers:
            x = layer(x, active, weights)
        return x


def skills(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    matrix: Mapping[str, Sequence[int]] | None = None,
    count: int | None = None,
    width: int = 64,
    hidden: int = 128,
    layers: int = 2,
) -> Model:
    r"""Layers of skills, of which each task uses its own few.

    With :math:`A_k` the skills of task k, a layer is

    .. math:: x \leftarrow \mathrm{LN}\Big(x + \frac{1}{|A_k|}
              \sum_{e \in A_k} \mathrm{FFN}_e(x)\Big)

    A task computes its own skills alone: a step costs what is active, however many
    skills there are. A skill gets a gradient from the tasks that use it, and none from
    others.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      matrix: of each task the skills it uses, from 0. None: skill 0, that of all tasks,
        and one of its own.
      count: E, of all skills; None: as many as the matrix has. More are for tasks to
        come.
      width: of the layers, at least 1.
      hidden: the hidden units of a skill, at least 1.
      layers: their number, at least 1.

    Returns:
      The model: linear heads on the last layer.

    Raises:
      UserError: for a matrix of other tasks, a task without skills, one named twice or
        that there is not, or an option out of range.

    Example:
      >>> model = skills((8,), names=("a", "b"), kind="binary", outputs=1,
      ...                matrix={"a": (0, 1), "b": (0, 2)}, width=4, hidden=6)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["shared"]["layers"][0]["skills"]["stack"]["up"]["kernel"].shape
      (3, 4, 6)
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Dai et al., One Model, Multiple Modalities: A Sparsely Activated Approach for
      Text, Sound, Image, Video and Code, 2022, arXiv 2205.06126.

    Differences from the paper:
      Its layers are those of a transformer; the feed-forward parts alone are here.
    """
    rows = _rows(names, matrix)
    most = max(max(row) for row in rows) + 1
    count = most if count is None else count
    expect(count >= most, "count", count, f"at least {most}, as many as the matrix has")
    for option, value in (("width", width), ("hidden", hidden), ("layers", layers)):
        expect(value >= 1, option, value, "at least 1")
    features = math.prod(input_shape)
    return functional(
        lambda rngs: SkillNet(
            features, rows, (width, hidden, count), layers, dtype=dtype, rngs=rngs
        ),
        linear_head(width, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
        per_task=True,
    )


def only_skills(
    optimizer: optax.GradientTransformation, active: Sequence[int]
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that leaves all but some skills as they are, to the bit.

    A gradient of zero is no standstill: momentum of an earlier stage and weight decay
    go on. It is for tasks that are added to a trained model, with skills that others
    use.

    Args:
      optimizer: the transformation behind a method.
      active: the skills that may change.

    Example:
      >>> model = skills((3,), names=("a",), kind="binary", outputs=1, count=4,
      ...                matrix={"a": (0, 3)}, width=4)
      >>> params, _ = model.init(jax.random.key(0))
      >>> decayed = only_skills(optax.adamw(1e-2), (0, 3))
      >>> updates, _ = decayed.update(params, decayed.init(params), params)
      >>> up = updates["shared"]["layers"][0]["skills"]["stack"]["up"]["kernel"]
      >>> (up != 0).any(axis=(1, 2)).tolist()
      [True, False, False, True]
    """
    inner = optax.with_extra_args_support(optimizer)
    chosen = sorted(set(active))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, state = inner.update(updates, state, params, **extra)

        def kept(path: Any, leaf: Array) -> Array:
            if STACK not in [getattr(entry, "key", None) for entry in path]:
                return leaf
            return jnp.zeros_like(leaf).at[np.array(chosen)].set(leaf[np.array(chosen)])

        return jax.tree_util.tree_map_with_path(kept, updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _rows(
    names: tuple[str, ...], matrix: Mapping[str, Sequence[int]] | None
) -> list[tuple[int, ...]]:
    """The skills of every task, in the order of the names."""
    if matrix is None:
        return [(0, k + 1) for k in range(len(names))]
    if sorted(matrix) != list(names):
        raise UserError(
            f"matrix has the tasks {sorted(matrix)}: expected {in_words(names)}"
        )
    for name, row in matrix.items():
        good = len(row) > 0 and len(set(row)) == len(row) and min(row) >= 0
        if not good:
            raise UserError(
                f"matrix has the skills {tuple(row)} for task {name!r}: expected at "
                "least one, each once, numbered from 0"
            )
    return [tuple(matrix[name]) for name in names]
