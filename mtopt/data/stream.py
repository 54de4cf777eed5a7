"""A split too large for the device: batches are read from disk as they are needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from typing_extensions import override

from mtopt.batch import Batch, is_real, narrowed
from mtopt.data.dataset import ArraySplit, Split
from mtopt.data.random_access import (
    BatchSource,
    SeveralGroups,
    SomeLabels,
    Source,
    fetch,
)
from mtopt.errors import UserError, expect_number
from mtopt.per_task import check_names

ON_DEVICE_BYTES = 256 * 2**20
WORKERS = 2
BATCHES_AHEAD = 4
ENDLESS = 2**40
"""More batches than any run takes: grain wants a number."""


class StreamSplit(Split):
    """A split that is read from random-access sources by grain.

    The samples of a source and seed are a fresh shuffle each epoch, one after the
    other. Of shared inputs, batch t is samples ``t B`` to ``t B + B - 1`` of them:
    every sample is seen once an epoch, and any batch can be computed without those
    before it. Disjoint tasks each walk through their own samples in the same way; an
    epoch is as long as the largest task needs, and a task with fewer samples than the
    batch size fills only part of its sub-batch. Batches are NumPy arrays, in the types
    that the source has.

    Args:
      source: the samples; of disjoint tasks, those of each by its name.
      group: the number of the group of tasks whose labels are read, of a source of
        tasks of several kinds: the splits of its groups, which
        :func:`mtopt.data.join` makes one data set of with ``shared_inputs=True``, read
        each sample once. None for a source of one kind.
      workers: threads that read and decode batches ahead, 1 or more; the batches are
        the same for any number. They work side by side wherever the source lets go of
        Python's lock, as NumPy, Pillow and array_record do.

    Raises:
      UserError: for a source without samples, or without that group; for no workers,
        or task names that are no texts.

    Example:
      >>> source = [{"x": np.full(2, i), "y": np.full(3, i)} for i in range(6)]
      >>> split = StreamSplit(source)
      >>> batch = next(split.batches(4, seeds=(0, 1)))
      >>> batch.x.shape, batch.y.shape, batch.mask.shape
      ((2, 4, 2), (2, 3, 4), (2, 3, 4))

      Each task its own samples:

      >>> two = [{"x": np.full(2, i), "y": i} for i in range(2)]
      >>> five = [{"x": np.full(2, i), "y": i} for i in range(5)]
      >>> split = StreamSplit({"few": two, "more": five})
      >>> batch = next(split.batches(3, seeds=(0,)))
      >>> batch.x.shape, batch.mask.sum(axis=2).tolist()
      ((1, 2, 3, 2), [[2, 3]])
    """

    def __init__(
        self,
        source: Source | Mapping[str, Source],
        *,
        group: int | None = None,
        workers: int = WORKERS,
    ) -> None:
        expect_number("workers", workers, at_least=1)
        self.workers = workers
        self.names = None
        self.x_axis = None
        if isinstance(source, Mapping):
            self.names = tuple(sorted(source))
            check_names(self.names)
            self.x_axis = 0
            self.sources = tuple(source[name] for name in self.names)
        elif group is None:
            self.sources = (source,)
        else:
            self.sources = (_one_group(source, group),)
        self._lengths = [len(each) for each in self.sources]
        self._longest = max(self._lengths)
        self.size = sum(self._lengths)
        if self.size == 0:
            raise UserError("a split has no samples: expected at least one")

    @classmethod
    def of(cls, samples: Batch, x_axis: int | None) -> "StreamSplit":
        """That of samples in memory, which may be more than the device can hold.

        Args:
          samples: all, as NumPy arrays.
          x_axis: None for shared inputs, 0 for disjoint ones.
        """
        if x_axis is None:
            return cls(BatchSource(samples))
        count = len(samples.mask)
        names = samples.names or [f"{k:06}" for k in range(count)]
        made = cls({name: BatchSource(samples, k) for k, name in enumerate(names)})
        made.names = samples.names
        return made

    @property
    def held(self) -> Batch | None:
        """All samples, where they are in memory."""
        first = self.sources[0]
        return first.samples if isinstance(first, BatchSource) else None

    @property
    def labels(self) -> np.ndarray | None:
        """The labels of each task, ``[K]``; None where reading all would tell."""
        if self.held is not None:
            return is_real(np.asarray(self.held.mask)).sum(axis=1)
        some = [fetch(each, [0])[0] for each in self.sources if len(each)]
        if any("mask" in sample for sample in some):
            return None
        if self.x_axis is not None:
            return np.array(self._lengths)
        return np.full(len(some[0]["y"]), self.size)

    def spaced(self, count: int) -> Batch:
        """Samples evenly spaced over each source; all, where they are in memory.

        Args:
          count: of each source, at most.
        """
        if self.held is not None:
            return self.held
        own = [min(count, length) for length in self._lengths]
        places = [
            np.linspace(0, length - 1, few, dtype=int)
            for length, few in zip(self._lengths, own, strict=True)
        ]
        return self._read([_padded(index, max(own)) for index in places])

    @override
    def batches(
        self, batch_size: int, *, seeds: Sequence[int], start: int = 0
    ) -> Iterator[Batch]:
        streams = [self._stream(seed, batch_size, start) for seed in seeds]
        for batches in zip(*streams, strict=True):
            yield jax.tree.map(lambda *leaves: np.stack(leaves), *batches)

    @override
    def steps_per_epoch(self, batch_size: int) -> int:
        # One epoch follows the other within a batch: the step that ends it counts.
        return -(-self._longest // min(batch_size, self._longest))

    @override
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        width = min(batch_size, self._longest)

        def places(t: int) -> list[np.ndarray]:
            index = np.arange(t * width, (t + 1) * width)
            return [np.where(index < length, index, -1) for length in self._lengths]

        # Batches of an evaluation are large: one is read while another is scored.
        yield from self._ahead(places, -(-self._longest // width), 1)

    def _stream(self, seed: int, batch_size: int, start: int) -> Iterator[Batch]:
        import grain

        width = min(batch_size, self._longest)
        # Sources of one size would else be shuffled alike.
        seeds = np.random.SeedSequence(seed).generate_state(len(self.sources))
        walks = [
            grain.MapDataset.range(length)
            .seed(seed if self.x_axis is None else int(own))
            .shuffle()
            .repeat()
            .batch(min(width, length))
            if length
            else None
            for length, own in zip(self._lengths, seeds, strict=True)
        ]

        def places(t: int) -> list[np.ndarray]:
            found = [() if walk is None else walk[t] for walk in walks]
            return [_padded(np.asarray(own, int), width) for own in found]

        ahead = max(BATCHES_AHEAD, self.workers)
        stream = self._ahead(places, ENDLESS, ahead)
        stream.set_state({"next_index": start})
        return stream

    def _ahead(
        self, places: Callable[[int], list[np.ndarray]], count: int, ahead: int
    ) -> Any:
        """The batches at ``places(t)``, some of them read before they are asked for."""
        import grain

        return iter(
            grain.MapDataset.range(count)
            .map(lambda t: self._read(places(t)))
            .to_iter_dataset(grain.ReadOptions(min(self.workers, ahead), ahead))
        )

    def _read(self, places: Sequence[np.ndarray]) -> Batch:
        """The samples at some places of each source; -1 is padding, at the end."""
        drawn = [index[index >= 0].tolist() for index in places]
        found = [
            [*fetch(source, index)] if index else []
            for source, index in zip(self.sources, drawn, strict=True)
        ]
        # Padding is a masked copy of another sample.
        other = next((own[-1] for own in found if own), None)
        if other is None:
            other = next(fetch(each, [0])[0] for each in self.sources if len(each))
        width = len(places[0])
        samples = [
            [*own, *[own[-1] if own else other] * (width - len(own))] for own in found
        ]
        there = np.stack([index >= 0 for index in places])
        if self.x_axis is None:
            return _shared(samples[0], there)
        return _disjoint(samples, there, self.names)


def place(
    batches: Mapping[str, Batch], x_axis: int | None, on_device_bytes: int
) -> dict[str, Split]:
    """Splits that live on the device where they fit, and are streamed otherwise.

    Args:
      batches: split name to all its samples, as NumPy arrays.
      x_axis: None for shared inputs, 0 for disjoint ones.
      on_device_bytes: the most that all splits together may take on the device.

    Returns:
      Split name to split.
    """
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(dict(batches)))
    if total <= on_device_bytes:
        return {name: ArraySplit(batch, x_axis) for name, batch in batches.items()}
    return {name: StreamSplit.of(batch, x_axis) for name, batch in batches.items()}


def one_stream(parts: Sequence[Split]) -> StreamSplit | None:
    """The groups of tasks of one source as one stream, which reads every sample once.

    Args:
      parts: the splits of the groups, in their order.

    Returns:
      The stream, whose batches :class:`mtopt.TaskGroups` take; None unless all are
      groups of one source.
    """
    views = [view for part in parts for view in _views(part)]
    if len(views) < len(parts) or any(v.source is not views[0].source for v in views):
        return None
    workers = max(part.workers for part in parts if isinstance(part, StreamSplit))
    return StreamSplit(SeveralGroups(views), workers=workers)


def _views(split: Split) -> list[SomeLabels]:
    """The view of a group of a source, if it is one."""
    sources = split.sources if isinstance(split, StreamSplit) else ()
    return [s for s in sources if isinstance(s, SomeLabels) and s.group is not None]


def _one_group(source: Source, group: int) -> SomeLabels:
    """The labels of one group of tasks.

    Raises:
      UserError: for a source that does not have that group.
    """
    y = fetch(source, [0])[0]["y"] if len(source) else ()
    if not isinstance(y, tuple):
        raise UserError(
            f"group={group} of a source whose samples have labels of one kind: "
            "expected a tuple y, one entry a group, or no group"
        )
    if len(source) and not 0 <= group < len(y):
        raise UserError(
            f"group={group} of a source with {len(y)} groups of labels: expected 0 to "
            f"{len(y) - 1}"
        )
    return SomeLabels(source, group)


def _padded(index: np.ndarray, width: int) -> np.ndarray:
    return np.pad(index, (0, width - len(index)), constant_values=-1)


def _shared(samples: Sequence[Mapping[str, Any]], there: np.ndarray) -> Batch:
    """A batch of samples with labels of all tasks, of one kind or a tuple of groups."""
    x = _stacked([sample["x"] for sample in samples])
    y = _stacked([sample["y"] for sample in samples], axis=1)
    if any("mask" in sample for sample in samples):
        mask = _stacked([sample["mask"] for sample in samples], axis=1)
        mask = jax.tree.map(lambda own: narrowed(own, there), mask)
    else:
        groups = [
            np.repeat(there, len(jax.tree.leaves(group)[0]), axis=0)
            for group in (y if isinstance(y, tuple) else (y,))
        ]
        mask = tuple(groups) if isinstance(y, tuple) else groups[0]
    return Batch(x, y, mask)


def _disjoint(
    samples: Sequence[Sequence[Mapping[str, Any]]],
    there: np.ndarray,
    names: tuple[str, ...] | None,
) -> Batch:
    """A batch of the samples of each task."""
    flat = [sample for own in samples for sample in own]

    def stacked(key: str) -> Any:
        every = _stacked([sample[key] for sample in flat])
        return jax.tree.map(lambda a: a.reshape(*there.shape, *a.shape[1:]), every)

    # Some sources may have missing labels, and others none.
    flat = [{"mask": True, **sample} for sample in flat]
    return Batch(stacked("x"), stacked("y"), narrowed(stacked("mask"), there), names)


def _stacked(trees: Sequence[Any], axis: int = 0) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=axis), *trees)
