"""Samples that can be read in any order, and views of some of their labels."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from mtopt.batch import Batch, is_real


@runtime_checkable
class Source(Protocol):
    """Samples that can be read in any order, as ``tfds.data_source`` gives them.

    A sample is a dict of ``x`` (any pytree of arrays), ``y`` ``[K, ...]`` and, where
    labels are missing, ``mask`` ``[K]``, or their weights. Of tasks of several kinds
    on one input, ``y`` and ``mask`` are tuples with an entry for each group; of a
    source of one task's own, ``y`` and ``mask`` are those of the task, without an axis.
    A source that also has ``__getitems__`` (a list of samples from a list of indices)
    is read one batch at a time. It is read by several threads at once.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def fetch(source: Source, index: Sequence[int]) -> Sequence[Mapping[str, Any]]:
    """Reads many samples: in one call where the source can do that.

    Args:
      source: of samples.
      index: which of them.
    """
    at_once = getattr(source, "__getitems__", None)
    return [source[i] for i in index] if at_once is None else at_once([*index])


class BatchSource:
    """The samples of one batch, one by one.

    Args:
      samples: NumPy arrays, in the shapes of :class:`mtopt.Batch`.
      task: of disjoint inputs, the number of the task whose own samples are meant;
        None for shared ones.
    """

    def __init__(self, samples: Batch, task: int | None = None) -> None:
        self.samples = samples
        self.task = task
        mask = is_real(np.asarray(samples.mask))
        # Padding is no sample of a task's own.
        every = np.arange(mask.shape[1])
        self._rows = every if task is None else np.flatnonzero(mask[task])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        shared = self.task is None
        row = self._rows[index]
        own = (slice(None), row) if shared else (self.task, row)
        return {
            "x": jax.tree.map(
                lambda leaf: leaf[row if shared else own], self.samples.x
            ),
            "y": jax.tree.map(lambda leaf: leaf[own], self.samples.y),
            "mask": self.samples.mask[own],
        }


class SomeLabels:
    """A source whose samples have the labels of some tasks alone.

    Args:
      source: whose samples have more of them.
      group: the number of the group that the tasks are of; None for a source of tasks
        of one kind.
      rows: the numbers of the tasks in their group; None for all.
    """

    def __init__(
        self, source: Source, group: int | None, rows: np.ndarray | None = None
    ) -> None:
        self.source = source
        self.group = group
        self._rows = rows

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.of(self.source[index])

    def __getitems__(self, index: Sequence[int]) -> list[Mapping[str, Any]]:
        return [self.of(sample) for sample in fetch(self.source, index)]

    def of(self, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """A sample of the source with these labels in place of all.

        Args:
          sample: of the source.
        """
        labels = {key: sample[key] for key in ("y", "mask") if key in sample}
        if self.group is not None:
            labels = {key: groups[self.group] for key, groups in labels.items()}
        if self._rows is not None:
            labels = jax.tree.map(lambda leaf: leaf[self._rows], labels)
        return {**sample, **labels}

    def kept(self, rows: np.ndarray) -> "SomeLabels":
        """The view of some of its own tasks.

        Args:
          rows: their numbers among them.
        """
        own = rows if self._rows is None else self._rows[rows]
        return SomeLabels(self.source, self.group, own)


class SeveralGroups:
    """A source whose samples have the labels of several views of one source.

    Args:
      views: of it, one a group of tasks.
    """

    def __init__(self, views: Sequence[SomeLabels]) -> None:
        self.source = views[0].source
        self.views = tuple(views)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._of(self.source[index])

    def __getitems__(self, index: Sequence[int]) -> list[Mapping[str, Any]]:
        return [self._of(sample) for sample in fetch(self.source, index)]

    def _of(self, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        groups = [view.of(sample) for view in self.views]
        labels = {
            key: tuple(group[key] for group in groups)
            for key in ("y", "mask")
            if key in sample
        }
        return {**sample, **labels}
