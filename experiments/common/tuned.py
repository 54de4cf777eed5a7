"""Programs that take a method's numbers as arguments: one serves all its trials."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtopt.step import TrainState
from mtopt.training.program import Program


class Numbers(NamedTuple):
    """What is tuned of a method and of the optimizer behind it; each may be traced.

    Attributes:
      learning_rate: the highest one of the schedule.
      options: name in the text of the method to option to value.
    """

    learning_rate: Any
    options: Mapping[str, Mapping[str, Any]]


Make = Callable[[Numbers], optax.GradientTransformation]
"""The chain of a method, of its numbers."""


class TunedState(NamedTuple):
    """The state of a chain, and the numbers that it is made of.

    Attributes:
      leaves: the numbers, without names that those of the chain's state have, too.
      inner: of the chain.
    """

    leaves: list[jax.Array]
    inner: Any


def tuned(make: Make, numbers: Numbers) -> optax.GradientTransformationExtraArgs:
    """A chain that reads its numbers from its state: others are the same program.

    Args:
      make: of the chain.
      numbers: the first ones, which are checked as plain numbers are.
    """
    plain = make(numbers)  # what stands in a closure is what others look at, too
    structure = jax.tree.structure(_arrays(numbers))

    def init(params: Any) -> TunedState:
        return _started(plain, params, _arrays(numbers))

    def update(
        updates: Any, state: Any, params: Any = None, **more: Any
    ) -> tuple[Any, TunedState]:
        own = make(jax.tree.unflatten(structure, state.leaves))
        chain = optax.with_extra_args_support(own)
        updates, inner = chain.update(updates, state.inner, params, **more)
        return updates, TunedState(state.leaves, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def at(program: Program, make: Make, numbers: Numbers) -> Program:
    """The program of a :func:`tuned` chain, which starts with other numbers.

    Args:
      program: of the chain.
      make: as of :func:`tuned`.
      numbers: all models are trained with these.
    """
    make(numbers)  # checks them

    def start(params: Any, numbers: Numbers) -> TunedState:
        return _started(make(numbers), params, numbers)

    for _ in program.models:
        start = jax.vmap(start, in_axes=(0, None))
    started = jax.jit(start)

    def init(keys: jax.Array) -> TrainState:
        state = program.init(keys)
        opt_state = started(state.params, _arrays(numbers))
        placed = jax.tree.map(_placed_as, opt_state, state.opt_state)
        return dataclasses.replace(state, opt_state=placed)

    return program._replace(init=init)


def _started(
    chain: optax.GradientTransformation, params: Any, numbers: Numbers
) -> TunedState:
    return TunedState(jax.tree.leaves(numbers), chain.init(params))


def _placed_as(new: jax.Array, old: jax.Array) -> jax.Array:
    """An array where another one is; one that is put where it is counts as moved."""
    same = new.sharding == old.sharding
    return new if same else jax.device_put(new, old.sharding)


def _arrays(numbers: Numbers) -> Numbers:
    """Each option as one array, tuples of weights among them."""
    options = {
        name: {option: _array(value) for option, value in own.items()}
        for name, own in numbers.options.items()
    }
    return Numbers(_array(numbers.learning_rate), options)


def _array(value: Any) -> jax.Array:
    return jnp.asarray(np.asarray(value, np.float32))
