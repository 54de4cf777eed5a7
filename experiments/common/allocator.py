"""Memory that was mapped once is kept, so that every step finds its arrays there."""

import ctypes
import os

# Of glibc's malloc.h. Both stop it from adjusting them itself.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
MOST = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1}
"""Bytes from which on an array is mapped on its own, and free ones are given back."""


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed for the arrays to come, up to a gigabyte each.

    By default it gives arrays beyond 32 MB back to the system and has them mapped anew,
    page after page, in every step. The process then holds the most that it ever had.
    What the user told glibc of its ``malloc`` stays as it is.

    Returns:
      Whether it was told; False with another C library.
    """
    told = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc." in told or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(name, most) for name, most in MOST.items())
