"""Optimizers and schedules by their names in optax."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import optax
from optax import contrib

from mtopt.errors import UserError
from mtopt.grammar import CallText, Registry

# What a configuration knows, under the names that optax's schedules have for it.
_RATE = ("peak_value", "value", "init_value")
_STEPS = ("decay_steps", "transition_steps")
_SUFFIX = "_schedule"


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _is_optimizer(name: str, function: Any) -> bool:
    """Whether it makes an optimizer of a learning rate, its first argument."""
    if name.startswith(("_", "scale_by")) or not inspect.isfunction(function):
        return False
    return _parameters(function)[:1] == ["learning_rate"]


OPTIMIZERS: Registry = {
    name: function
    for module in (contrib, optax)
    for name, function in vars(module).items()
    if _is_optimizer(name, function)
}
"""Optimizers of ``optax`` and ``optax.contrib`` by name."""

SCHEDULES: Registry = {
    name.removesuffix(_SUFFIX): function
    for name, function in vars(optax).items()
    if name == "exponential_decay"
    or (name.endswith(_SUFFIX) and set(_RATE) & set(_parameters(function)))
}
"""Schedules of optax by name, without ``_schedule``."""


def make_optimizer(text: str, rate: Any) -> optax.GradientTransformation:
    """The optimizer that ``text`` names.

    Args:
      text: as ``adamw(weight_decay=1e-2)``.
      rate: its learning rate, a number that may be traced, or a schedule.

    Raises:
      UserError: for a name or an option that optax does not have.
    """
    call = CallText.parse("optimizer", text, OPTIMIZERS, arguments=1)
    return _made("optimizer", call, rate)


def make_schedule(text: str, rate: Any, steps: int) -> Any:
    """The schedule that ``text`` names; a number for a constant one.

    Args:
      text: as ``warmup_cosine_decay(warmup_steps=100)``.
      rate: its highest value, a number that may be traced.
      steps: how long it lasts, unless the text says so.

    Raises:
      UserError: for a name or an option that optax does not have.
    """
    if text == "constant":  # some optimizers take numbers alone
        return rate
    parsed = CallText.parse("schedule", text, SCHEDULES, given=(*_RATE, *_STEPS))
    parameters = _parameters(parsed.function)
    known: dict[str, Any] = {name: steps for name in _STEPS if name in parameters}
    highest = next(name for name in _RATE if name in parameters)
    known[highest] = rate
    if highest == "peak_value" and "init_value" in parameters:
        known["init_value"] = 0.0
    known |= parsed.options
    return _made("schedule", dataclasses.replace(parsed, options=known))


def _made(what: str, call: CallText, *arguments: Any) -> Any:
    """What the call makes; what optax finds wrong with it in one line."""
    try:
        return call.build(*arguments)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{what} {call.name} with options {dict(call.options)}: {reason}"
        ) from error
