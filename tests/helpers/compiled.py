"""What must be one program: that nothing is compiled after the first call."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")
EVENT = "/jax/core/compile/backend_compile_duration"

_COMPILED: list[str] = []


def _listen(event: str, duration: float, **told: Any) -> None:
    del duration
    if event == EVENT:
        _COMPILED.append(told["fun_name"])


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def compiled() -> Iterator[list[str]]:
    """The names of the programs made meanwhile, those that a cache holds among them."""
    names: list[str] = []
    before = len(_COMPILED)
    yield names
    names += _COMPILED[before:]


def compiled_once(function: Callable[P, R]) -> Callable[P, R]:
    """The jitted function, which fails unless its first call alone makes a program."""
    first = True

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal first
        with compiled() as names:
            result = function(*args, **kwargs)
        # Told here, as pytest rewrites no assertion of a helper.
        which = "the first call" if first else "a later call"
        assert bool(names) == first, f"{which} made the programs {names}"
        first = False
        return result

    return call
