"""What is read from files goes to the device where it fits, and is streamed if not."""

from collections.abc import Mapping, Sequence

import jax

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Split
from mtopt.data.random_access import Source
from mtopt.data.stream import StreamSplit


def placed(
    sources: Mapping[str, Source | Mapping[str, Source]],
    groups: Sequence[tuple[str, ...]],
    on_device_bytes: int,
) -> list[dict[str, Split]]:
    """The splits of each group of tasks: in memory if all parts fit, or else streams.

    Args:
      sources: part to its samples, which are of one size; of disjoint tasks, to those
        of each by its name. One that stands for two parts is read once.
      groups: the names of the tasks of each; of several, on shared inputs, a sample has
        a tuple of labels.
      on_device_bytes: the most that all parts together may take.

    Returns:
      For each group, part to split. Those of a part have the same inputs, which are on
      the device once.
    """
    each = {id(source): source for source in sources.values()}
    streams = {key: StreamSplit(source) for key, source in each.items()}
    ones = {key: stream.spaced(1) for key, stream in streams.items()}
    # Each task's samples are padded to as many as the largest has.
    size = sum(_longest(streams[key]) * _nbytes(one) for key, one in ones.items())
    if size <= on_device_bytes:
        made = {key: _held(stream, groups) for key, stream in streams.items()}
    else:
        made = {
            key: [StreamSplit(each[key], group=g) for g in range(len(groups))]
            if isinstance(one.y, tuple)
            else [streams[key]]
            for key, one in ones.items()
        }
    return [
        {part: made[id(source)][g] for part, source in sources.items()}
        for g in range(len(groups))
    ]


def _held(stream: StreamSplit, groups: Sequence[tuple[str, ...]]) -> list[ArraySplit]:
    """All samples, for each group with its labels."""
    whole = stream.spaced(_longest(stream))
    y, mask = whole.y, whole.mask
    labels = zip(y, mask, strict=True) if isinstance(y, tuple) else [(y, mask)]
    splits, x = [], whole.x
    for names, own in zip(groups, labels, strict=True):
        split = ArraySplit(Batch(x, *own, names), stream.x_axis)
        splits.append(split)
        x = split.samples.x
    return splits


def _nbytes(batch: Batch) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(batch))


def _longest(stream: StreamSplit) -> int:
    """The samples of the task that has most."""
    return max(map(len, stream.sources))
