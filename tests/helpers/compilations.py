"""What JAX compiles, and that a function is one program."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")
EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """The names of the programs made since then, or found in a cache."""
    names: list[str] = []

    def listen(event: str, seconds: float, **told: Any) -> None:
        del seconds
        if event == EVENT:
            names.append(told["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def compiled_once(function: Callable[P, R]) -> Callable[P, R]:
    """The jitted function, which fails unless its first call alone makes a program."""
    first = True

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal first
        with compilations() as names:
            result = function(*args, **kwargs)
        # Told here, as pytest rewrites no assertion of a helper.
        which = "the first call" if first else "a later call"
        assert bool(names) == first, f"{which} made the programs {names}"
        first = False
        return result

    return call
