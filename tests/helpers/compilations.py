"""How many programs JAX has compiled."""

import contextlib

import jax

EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counted_compilations():
    """A function that returns how many there were since the context was entered."""
    seen = []

    def count(event, seconds, **_):
        if event == EVENT:
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield lambda: len(seen)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
