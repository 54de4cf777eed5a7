"""What one of several processes does alone, and what it waits for."""

import jax
from jax.experimental import multihost_utils


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def wait_for_all(event: str) -> None:
    """Returns when every process has come here.

    Args:
      event: where that is; the same for all.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(event)
