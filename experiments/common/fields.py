"""Fields of configurations, and the values that they may have."""

import dataclasses
import math
from typing import Any

from mtopt.errors import UserError, nearest

_RULES = "rules"


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What :func:`option` was told."""

    at_least: float | None
    above: float | None
    below: float | None
    one_of: tuple[str, ...] | None
    entries: int


def option(
    default: Any = dataclasses.MISSING,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    one_of: tuple[str, ...] | None = None,
    entries: int = 0,
) -> Any:
    """A field of a configuration with the values that it may have.

    Numbers must be finite. In a tuple the rules hold for every entry, and no entry may
    stand twice.

    Args:
      default: its value unless it is set; none for a field that must be set.
      at_least: the least number.
      above: what a number must exceed.
      below: what it must be less than.
      one_of: all names that there are.
      entries: how many a tuple has at least.

    Example:
      >>> @dataclasses.dataclass
      ... class Config:
      ...     rho: float = option(0.05, above=0)
      >>> check_fields(Config(rho=0.0))
      Traceback (most recent call last):
      mtopt.errors.UserError: rho is 0.0: expected a number above 0
    """
    rules = _Rules(at_least, above, below, one_of, entries)
    return dataclasses.field(default=default, metadata={_RULES: rules})


def check_fields(config: Any, prefix: str = "") -> None:
    """Raises for the first field whose value its :func:`option` does not allow.

    Args:
      config: a dataclass, whose fields may be dataclasses.
      prefix: before the names of the fields: ``"optimizer."``.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            check_fields(value, f"{name}.")
        elif (rules := field.metadata.get(_RULES)) is None:
            continue
        elif isinstance(value, tuple):
            _check_entries(name, value, rules.entries)
            for entry in value:
                _check_value(name, entry, rules)
        else:
            _check_value(name, value, rules)


def _check_entries(name: str, values: tuple[Any, ...], entries: int) -> None:
    if len(values) < entries:
        raise UserError(f"{name} is {values}: expected {entries} or more entries")
    if len(set(values)) < len(values):
        raise UserError(f"{name} is {values}: expected no entry twice")


def _check_value(name: str, value: Any, rules: _Rules) -> None:
    if rules.one_of is not None and value not in rules.one_of:
        raise UserError(f"{name} is {value!r}: {nearest(str(value), rules.one_of)}")
    expected = []
    if rules.at_least is not None and not value >= rules.at_least:
        expected.append(f"{rules.at_least} or more")
    if rules.above is not None and not value > rules.above:
        expected.append(f"a number above {rules.above}")
    if rules.below is not None and not value < rules.below:
        expected.append(f"a number below {rules.below}")
    if isinstance(value, float) and not math.isfinite(value):
        expected.append("a finite number")
    if expected:
        raise UserError(f"{name} is {value!r}: expected {' and '.join(expected)}")
