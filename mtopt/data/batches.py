"""Batches that a compiled program can make for itself."""

from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import override

from mtopt.batch import Batch


class Batches(Iterator[Batch]):
    """A stream of batches, each made of what all have in common and of a small part.

    It is an iterator over batches as any other. A program that takes many steps at once
    is given the parts of all of them, and makes each batch where it needs it.

    Args:
      make: ``(common, part) -> batch``, pure.
      common: arrays on the device, such as all samples.
      parts: what tells one batch from another, such as the numbers of its samples:
        arrays of the same shapes for every batch.

    Example:
      >>> import itertools, numpy as np
      >>> samples = Batch.shared(np.arange(6.), {"a": np.arange(6.)})
      >>> def make(samples, index):
      ...     return Batch.shared(samples.x[index], {"a": samples.y[0, index]})
      >>> next(Batches(make, samples, itertools.repeat(np.array([4, 1])))).x.tolist()
      [4.0, 1.0]
    """

    def __init__(
        self, make: Callable[[Any, Any], Batch], common: Any, parts: Iterator[Any]
    ) -> None:
        self.make = make
        self.common = common
        self.parts = parts

    @override
    def __next__(self) -> Batch:
        return self.make(self.common, next(self.parts))
