"""What checks types while tests run; see ``--jaxtyping-packages`` in pyproject.toml."""

import types
from typing import Any

from beartype import beartype

_checked: dict[Any, Any] = {}


def checked(function: types.FunctionType) -> Any:
    """beartype's check, written once for all functions that one definition makes.

    jaxtyping has a function of the same signature checked, which returns what it is
    given. It does so whenever an inner function is defined, which is at every trace of
    a method, a wrapper or a step, and writing that check takes beartype a millisecond.
    """
    code = function.__code__
    definition = (
        (function.__module__, function.__qualname__),
        (code.co_varnames, code.co_argcount, code.co_kwonlyargcount, code.co_flags),
        tuple(function.__annotations__.items()),
    )
    if "<locals>" not in function.__qualname__:
        return beartype(function)
    if definition not in _checked:
        _checked[definition] = beartype(function)
    return _checked[definition]
