"""Copies of a module, stacked: a program does not grow with their number."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from mtopt.models.pure import Factory


class Stack(nnx.Module):
    """Modules of one structure, which start apart; parameters have a leading axis.

    Args:
      make: makes one of them; a stack, too.
      count: their number.
      rngs: of their parameters and their randomness, each of its own.

    Example:
      >>> import jax.numpy as jnp
      >>> stack = Stack(lambda rngs: nnx.Linear(3, 4, rngs=rngs), 5, nnx.Rngs(0))
      >>> stack(jnp.ones((2, 3))).shape, stack.at(1, jnp.ones((2, 3))).shape
      ((2, 5, 4), (2, 4))
      >>> stack.each(jnp.ones((2, 5, 3))).shape
      (2, 5, 4)
    """

    def __init__(self, make: Factory, count: int, rngs: nnx.Rngs) -> None:
        def one(rngs: nnx.Rngs) -> nnx.Module:
            return make(rngs)  # nnx.vmap would map over its other defaults, too

        build = nnx.split_rngs(splits=count)(nnx.vmap(one, in_axes=0, out_axes=0))
        self.stack = build(rngs)

    def __call__(self, x: Any) -> Float[Array, "b E ..."]:
        """What all make of one input."""
        return _each(self.stack, x)

    def each(self, x: Float[Array, "b E ..."]) -> Float[Array, "b E ..."]:
        """What each makes of an input of its own."""
        return _each(self.stack, x, x_axis=1)

    def some(self, indices: Int[Array, " A"], x: Any) -> Float[Array, "b A ..."]:
        """What those at some places make of one input; the others do not run."""
        structure, state = nnx.split(self.stack)
        chosen = jax.tree.map(lambda leaf: _entry(leaf, indices), state)
        return _each(nnx.merge(structure, chosen), x)

    def at(self, index: int | Int[Array, ""], x: Any) -> Any:
        """What one of them makes of an input; its statistics alone move."""
        structure, state = nnx.split(self.stack)
        one = nnx.merge(
            structure, jax.tree.map(lambda leaf: _entry(leaf, index), state)
        )
        outputs = one(x)
        moved = jax.tree.map(
            lambda all_of_it, own: all_of_it.at[index].set(own),
            nnx.state(self.stack, nnx.BatchStat),
            nnx.state(one, nnx.BatchStat),
        )
        nnx.update(self.stack, moved)
        return outputs


def _each(stack: nnx.Module, x: Any, x_axis: int | None = None) -> Any:
    every = nnx.vmap(lambda one, x: one(x), in_axes=(0, x_axis), out_axes=1)
    return every(stack, x)


def _entry(leaf: Any, index: int | Int[Array, "..."]) -> Any:
    """Those of a stack of arrays; of randomness evaluation has shapes alone."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(jnp.shape(index) + leaf.shape[1:], leaf.dtype)
    return leaf[index]
