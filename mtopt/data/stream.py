"""A split too large for the device: batches are read from disk as they are needed."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from typing_extensions import override

from mtopt.batch import Batch, is_real, narrowed
from mtopt.data.dataset import ArraySplit, Split
from mtopt.errors import UserError

ON_DEVICE_BYTES = 256 * 2**20
THREADS = 2
BATCHES_AHEAD = 4


@runtime_checkable
class Source(Protocol):
    """Samples that can be read in any order, as ``tfds.data_source`` gives them.

    A sample is a dict of ``x`` (any pytree of arrays), ``y`` ``[K, ...]`` and, where
    labels are missing, ``mask`` ``[K]``, or their weights. A source that also has
    ``__getitems__`` (a list of samples from a list of indices) is read one batch at a
    time.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class StreamSplit(Split):
    """A split of shared inputs, read from a random-access source by grain.

    The samples of a seed are a fresh shuffle each epoch, one after the other, and
    batch t is samples ``t B`` to ``t B + B - 1`` of them: every sample is seen once
    an epoch, and any batch can be computed without those before it. Two threads read
    a few batches ahead, in this process. Batches are NumPy arrays.

    Args:
      source: the samples.
      x_axis: None; disjoint tasks are not streamed.

    Raises:
      UserError: for a source without samples, or disjoint tasks.

    Example:
      >>> source = [{"x": np.full(2, i), "y": np.full(3, i)} for i in range(6)]
      >>> split = StreamSplit(source)
      >>> batch = next(split.batches(4, seeds=(0, 1)))
      >>> batch.x.shape, batch.y.shape, batch.mask.shape
      ((2, 4, 2), (2, 3, 4), (2, 3, 4))
    """

    def __init__(self, source: Source, x_axis: int | None = None) -> None:
        if x_axis is not None:
            raise UserError(
                "a stream holds shared inputs only, and these tasks have inputs of "
                "their own: keep them on the device (a larger on_device_bytes)"
            )
        if len(source) == 0:
            raise UserError("a split has no samples: expected at least one")
        self.source = source
        self.size = len(source)

    @property
    def labels(self) -> np.ndarray | None:
        """The labels of each task, ``[K]``; None where reading all would tell."""
        if isinstance(self.source, BatchSource):
            return is_real(np.asarray(self.source.samples.mask)).sum(axis=1)
        batch = self.spaced(1)
        if "mask" in fetch(self.source, [0])[0]:
            return None
        return np.full(len(batch.mask), self.size)

    def spaced(self, count: int) -> Batch:
        """Samples evenly spaced over the source; all, where they are in memory."""
        if isinstance(self.source, BatchSource):
            return self.source.samples
        return self._read(
            np.linspace(0, self.size - 1, min(count, self.size), dtype=int)
        )

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
        return -(-self.size // min(batch_size, self.size))

    @override
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        width = min(batch_size, self.size)
        for begin in range(0, self.size, width):
            index = np.arange(begin, begin + width)
            batch = self._read(np.minimum(index, self.size - 1))
            mask = narrowed(batch.mask, index < self.size)
            yield dataclasses.replace(batch, mask=mask)

    def _stream(self, seed: int, batch_size: int, start: int) -> Iterator[Batch]:
        import grain

        width = min(batch_size, self.size)
        batches = (
            grain.MapDataset.range(self.size)
            .seed(seed)
            .shuffle()
            .repeat()
            .batch(width)
            .map(self._read)
        )
        ahead = grain.ReadOptions(
            num_threads=THREADS, prefetch_buffer_size=BATCHES_AHEAD
        )
        stream = iter(batches.to_iter_dataset(ahead))
        stream.set_state({"next_index": start})
        return stream

    def _read(self, index: np.ndarray) -> Batch:
        samples = fetch(self.source, [int(i) for i in index])
        x = jax.tree.map(lambda *leaves: np.stack(leaves), *[s["x"] for s in samples])
        y = np.stack([s["y"] for s in samples], axis=1)
        if "mask" not in samples[0]:
            return Batch(x, y, np.ones(y.shape[:2], bool))
        return Batch(x, y, np.stack([s["mask"] for s in samples], axis=1))


class BatchSource:
    """The samples of one batch of shared inputs, one by one.

    Args:
      samples: NumPy arrays, in the shapes of :class:`mtopt.Batch`.
    """

    def __init__(self, samples: Batch) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples.mask.shape[1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "x": jax.tree.map(lambda leaf: leaf[index], self.samples.x),
            "y": self.samples.y[:, index],
            "mask": self.samples.mask[:, index],
        }


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

    Raises:
      UserError: for disjoint tasks that are larger.
    """
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(dict(batches)))
    if total <= on_device_bytes:
        return {name: ArraySplit(batch, x_axis) for name, batch in batches.items()}
    return {
        name: StreamSplit(BatchSource(batch), x_axis) for name, batch in batches.items()
    }


def fetch(source: Source, index: Sequence[int]) -> Sequence[Mapping[str, Any]]:
    """Reads many samples: in one call where the source can do that.

    Args:
      source: of samples.
      index: which of them.
    """
    at_once = getattr(source, "__getitems__", None)
    return [source[i] for i in index] if at_once is None else at_once([*index])
