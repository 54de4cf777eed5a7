"""Batches from outside: the loader of another library as a split."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from typing_extensions import override

from mtopt.batch import Batch
from mtopt.data.dataset import Split
from mtopt.errors import UserError, expect_number

Samples = Batch | tuple[Any, Mapping[str, Any]]
"""What a loader gives: a batch, or inputs and a dict of labels by task."""


class LoaderSplit(Split):
    """A split whose batches are those of a loader, such as grain's or torch's.

    A run takes the batches as they come: the loader shuffles, transforms and reads
    ahead. For a run that is resumed to get the batches that it would have got, an epoch
    must depend on the seed and its number alone; what of it was trained on is drawn
    again and left out.

    Args:
      epoch: ``(seed, number) -> batches`` of one epoch, an iterable of
        :class:`mtopt.Batch`, or of pairs of inputs and labels by task, as
        :meth:`mtopt.Batch.shared` takes them. Of a validation or test split it is
        called with (0, 0), and every sample comes once.
      steps: batches of an epoch, at least 1.
      size: samples of an epoch, at least 1.

    Raises:
      UserError: for numbers below 1; while it is read, for an epoch of fewer batches
        than ``steps``, or batches of other sizes than were asked for.

    Example:
      >>> x = np.arange(8.0)[:, None]
      >>> def epoch(seed, number):
      ...     order = np.random.default_rng([seed, number]).permutation(8)
      ...     for rows in order.reshape(2, 4):
      ...         yield x[rows], {"double": 2 * x[rows, 0], "square": x[rows, 0] ** 2}
      >>> split = LoaderSplit(epoch, steps=2, size=8)
      >>> next(split.batches(4, seeds=(0, 1))).y.shape
      (2, 2, 4)
    """

    def __init__(
        self,
        epoch: Callable[[int, int], Iterable[Samples]],
        *,
        steps: int,
        size: int,
    ) -> None:
        expect_number("steps", steps, at_least=1)
        expect_number("size", size, at_least=1)
        self.epoch = epoch
        self.steps = steps
        self.size = size

    @override
    def batches(
        self, batch_size: int, *, seeds: Sequence[int], start: int = 0
    ) -> Iterator[Batch]:
        streams = [self._stream(seed, batch_size, start) for seed in seeds]
        for found in zip(*streams, strict=True):
            yield jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    @override
    def steps_per_epoch(self, batch_size: int) -> int:
        return self.steps

    @override
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        return map(_batch, self.epoch(0, 0))

    def _stream(self, seed: int, batch_size: int, start: int) -> Iterator[Batch]:
        """The batches of one seed, from one on."""
        first, step = divmod(start, self.steps)
        for number in itertools.count(first):
            count = 0
            for samples in itertools.islice(self.epoch(seed, number), self.steps):
                count += 1
                if count > step:
                    yield _checked(_batch(samples), batch_size)
            if count < self.steps:
                raise UserError(
                    f"the loader's epoch {number} had {count} batches: expected "
                    f"steps={self.steps}"
                )
            step = 0


def _batch(samples: Any) -> Batch:
    """One batch, of NumPy arrays whatever the loader has.

    Raises:
      UserError: for what is none of :data:`Samples`.
    """
    if isinstance(samples, Batch):
        return samples
    pair = isinstance(samples, tuple | list) and len(samples) == 2
    if not pair or not isinstance(samples[1], Mapping):
        raise UserError(
            f"the loader gave a {type(samples).__name__}: expected a Batch, or a pair "
            "of inputs and a dict of labels by task"
        )
    x, labels = jax.tree.map(np.asarray, samples)
    return Batch.shared(x, labels)


def _checked(batch: Batch, batch_size: int) -> Batch:
    width = batch.mask.shape[-1]
    if width != batch_size:
        raise UserError(
            f"the loader gave {width} samples: expected {batch_size}, as the run asks "
            "for; set its batch_size, and drop an incomplete last batch"
        )
    return batch
