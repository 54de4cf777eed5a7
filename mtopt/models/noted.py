"""Gates: methods whose results are noted while a model is looked at."""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from flax import nnx
from jaxtyping import Array

_MARK = "returns_what_experts_weigh"
_note: ContextVar[Callable[[Any, Any], None] | None] = ContextVar("note", default=None)


def gate(weigh: Callable[..., Array]) -> Callable[..., Array]:
    """Marks the method of a module that returns what each expert weighs.

    Diagnostics then find it: ``model.mixtures`` of :func:`mtopt.models.functional` runs
    the model and has what the method returned, by the place of its module. Nothing
    else changes.

    Args:
      weigh: a method that returns ``[b, E]``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> class Choice(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.scores = nnx.Linear(3, 2, rngs=rngs)
      ...     @gate
      ...     def __call__(self, x):
      ...         return jax.nn.softmax(self.scores(x))
      >>> weights, found = noted(Choice(nnx.Rngs(0)), jnp.ones((4, 3)))
      >>> list(found), bool((found[""] == weights).all())
      ([''], True)
    """

    @functools.wraps(weigh)
    def noting(module: Any, *arguments: Any) -> Array:
        weights = weigh(module, *arguments)
        note = _note.get()
        if note is not None:
            note(module, weights)
        return weights

    setattr(noting, _MARK, True)
    return noting


def is_gate(module: nnx.Module) -> bool:
    """Whether a method of its class is marked by :func:`gate`."""
    methods = (value for kind in type(module).__mro__ for value in vars(kind).values())
    return any(getattr(method, _MARK, False) for method in methods)


def noted(module: nnx.Module, *arguments: Any) -> tuple[Any, dict[str, Array]]:
    """The outputs of a module, and what its gates return meanwhile, by their places.

    A stack of modules is mapped over as other objects, whose arrays are those of
    another program: what these return is not noted. Of a gate that is called several
    times, the last call is.

    Args:
      module: the module.
      arguments: what it is called with.
    """
    places = {
        id(node): ".".join(map(str, path))
        for path, node in nnx.iter_modules(module)
        if is_gate(node)
    }
    found: dict[str, Array] = {}

    def note(node: Any, weights: Array) -> None:
        if id(node) in places:
            found[places[id(node)]] = weights

    token = _note.set(note)
    try:
        return module(*arguments), found
    finally:
        _note.reset(token)
