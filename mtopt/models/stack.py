"""Copies of a module, stacked: a program does not grow with their number.

But for those with convolutions, which run one behind the other. Mapped, they would be
one convolution of groups: for XLA twenty times the work on a CPU (three networks of
3 x 3 kernels and 8 to 64 channels, forward and back: 5 to 19 ms, mapped 119 to 395),
and a ``NotImplementedError`` of JAX where per-task gradients meet several devices.
"""

import functools
from collections.abc import Callable
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
        return self.over(_call, x)

    def each(self, x: Float[Array, "b E ..."]) -> Float[Array, "b E ..."]:
        """What each makes of an input of its own."""
        return self.over(_call, x, x_axis=1)

    def over(
        self, function: Callable[[Any, Any], Any], x: Any, x_axis: int | None = None
    ) -> Any:
        """``function(module, x)`` of every module, ``[b, E, ...]``.

        Args:
          function: may change a module's variables, which are kept.
          x: one input, or any tree of arrays.
          x_axis: 1 where each module has an input of its own, on that axis.
        """
        return _over(self.stack, function, x, x_axis)

    def some(self, indices: Int[Array, " A"], x: Any) -> Float[Array, "b A ..."]:
        """What those at some places make of one input; the others do not run."""
        return _over(_at(self.stack, indices), _call, x, None)

    def at(self, index: int | Int[Array, ""], x: Any) -> Any:
        """What one of them makes of an input; its statistics alone move."""
        one = _at(self.stack, index)
        outputs = one(x)
        moved = jax.tree.map(
            lambda all_of_it, own: all_of_it.at[index].set(own),
            nnx.state(self.stack, nnx.BatchStat),
            nnx.state(one, nnx.BatchStat),
        )
        nnx.update(self.stack, moved)
        return outputs


def _call(module: Any, x: Any) -> Any:
    return module(x)


def _over(
    stack: nnx.Module, function: Callable[[Any, Any], Any], x: Any, x_axis: int | None
) -> Any:
    if not any(isinstance(own, nnx.Conv) for _, own in nnx.iter_modules(stack)):
        return nnx.vmap(function, in_axes=(0, x_axis), out_axes=1)(stack, x)
    count = len(jax.tree.leaves(nnx.state(stack))[0])
    networks = [_at(stack, i) for i in range(count)]
    inputs = [x] * count
    if x_axis is not None:
        entry = functools.partial(jax.lax.index_in_dim, axis=x_axis, keepdims=False)
        inputs = [jax.tree.map(lambda a, i=i: entry(a, i), x) for i in range(count)]
    outputs = [function(*each) for each in zip(networks, inputs, strict=True)]
    moved = [nnx.state(network, nnx.Not(nnx.Param)) for network in networks]
    nnx.update(stack, jax.tree.map(_stacked, *moved))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *outputs)


def _stacked(*leaves: Any) -> Any:
    """One entry for each; of randomness evaluation has shapes alone."""
    first = leaves[0]
    if isinstance(first, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(leaves), *first.shape), first.dtype)
    return jnp.stack(leaves)


def _at(stack: nnx.Module, index: int | Int[Array, "..."]) -> Any:
    """One of a stack, or a stack of some."""
    structure, state = nnx.split(stack)
    return nnx.merge(structure, jax.tree.map(lambda leaf: _entry(leaf, index), state))


def _entry(leaf: Any, index: int | Int[Array, "..."]) -> Any:
    """Those of a stack of arrays; of randomness evaluation has shapes alone."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(jnp.shape(index) + leaf.shape[1:], leaf.dtype)
    return leaf[index]
