"""The optimizer behind the aggregator, by its name in optax."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import optax
from optax import contrib

import mtopt
from mtopt.errors import UserError
from mtopt.grammar import CallText, Registry

from .fields import option

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


@dataclasses.dataclass
class Optimizer:
    """What follows the aggregator in the chain.

    Attributes:
      name: an optimizer of ``optax`` or ``optax.contrib`` with its options, such as
        ``adam``, ``adamw(weight_decay=1e-2)``, ``sgd(momentum=0.9)``, ``muon``.
      learning_rate: the highest one of the schedule, above 0.
      schedule: of the learning rate, a schedule of optax without ``_schedule`` and with
        its options, such as ``constant``, ``cosine_decay``,
        ``warmup_cosine_decay(warmup_steps=100)``; it lasts as long as the run unless
        told otherwise.
      clip_norm: the largest norm of the direction (shared and heads together); 0
        leaves it alone.
      head_rate: what the updates of all tasks' own parameters are multiplied by, 0 or
        more; 0 freezes them.
    """

    name: str = "adam"
    learning_rate: float = option(1e-3, above=0)
    schedule: str = "constant"
    clip_norm: float = option(0.0, at_least=0)
    head_rate: float = option(1.0, at_least=0)

    def build(self, steps: int) -> optax.GradientTransformation:
        """What follows the aggregator in the chain, for a run of so many steps.

        Raises:
          UserError: for a name or an option that optax does not have.
        """
        call = CallText.parse("optimizer", self.name, OPTIMIZERS, arguments=1)
        members = [_made("optimizer", call, self._rate(steps))]
        if self.clip_norm:
            members.insert(0, optax.clip_by_global_norm(self.clip_norm))
        if self.head_rate != 1:
            members.append(mtopt.scale_tasks(self.head_rate))
        return mtopt.chain(*members)

    def _rate(self, steps: int) -> float | optax.Schedule:
        if self.schedule == "constant":  # some optimizers take numbers alone
            return self.learning_rate
        parsed = CallText.parse(
            "schedule", self.schedule, SCHEDULES, given=(*_RATE, *_STEPS)
        )
        parameters = _parameters(parsed.function)
        known: dict[str, Any] = {name: steps for name in _STEPS if name in parameters}
        rate = next(name for name in _RATE if name in parameters)
        known[rate] = self.learning_rate
        if rate == "peak_value":
            known["init_value"] = 0.0
        known = {**known, **parsed.options}
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
