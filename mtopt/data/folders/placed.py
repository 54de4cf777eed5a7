"""Streams of files that are small enough for the device are read once."""

from collections.abc import Mapping

import jax

from mtopt.batch import Batch
from mtopt.data.stream import StreamSplit


def in_memory(
    streams: Mapping[str, StreamSplit], on_device_bytes: int
) -> dict[str, Batch] | None:
    """All samples of all parts, where they fit on the device together.

    Args:
      streams: part to its samples, which are of one size.
      on_device_bytes: the most that they may take.

    Returns:
      Part to one batch; None where they would take more. One stream that stands for
      two parts is read once.
    """
    total = 0
    for stream in streams.values():
        one = stream.spaced(1)
        total += longest(stream) * sum(leaf.nbytes for leaf in jax.tree.leaves(one))
        if total > on_device_bytes:
            return None
    each = {id(s): s.spaced(longest(s)) for s in streams.values()}
    return {part: each[id(stream)] for part, stream in streams.items()}


def longest(stream: StreamSplit) -> int:
    """The samples of the task that has most."""
    return max(map(len, stream.sources))
