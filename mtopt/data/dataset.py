"""A multi-task data set in memory: three splits, epochs of shuffled batches."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from typing_extensions import override

from mtopt.arrays import as_numbers
from mtopt.batch import Batch, as_mask, is_real, narrowed
from mtopt.data.batches import Batches
from mtopt.data.encoding import Encoding
from mtopt.errors import UserError
from mtopt.per_task import check_names


@runtime_checkable
class Split(Protocol):
    """Samples that can be drawn in shuffled epochs, or read once in order."""

    size: int

    def batches(
        self, batch_size: int, *, seeds: Sequence[int], start: int = 0
    ) -> Iterator[Batch]:
        """Endless shuffled batches, one stream per seed, stacked on a leading axis.

        Batch t of a seed depends on the seed and t alone: to resume a run, start at
        the number of steps it has done.

        Args:
          batch_size: samples per batch, and per task if inputs are disjoint.
          seeds: one stream of samples each.
          start: the index of the first batch to yield.
        """
        ...

    def steps_per_epoch(self, batch_size: int) -> int:
        """How many of the :meth:`batches` make an epoch, at least 1.

        What methods are told that wait for an epoch to end, too.
        """
        ...

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every sample once, in order; the last batch is padded and masked."""
        ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """K tasks with training, validation and test splits.

    Args:
      name: what to call it in tables.
      tasks: the K task names, sorted.
      kind: what the labels are: ``classification`` (int classes), ``binary`` (0 or 1),
        ``multilabel`` (a vector of 0 and 1), ``regression`` (a number), ``ordinal`` or
        ``ordinal_adjacent`` (int levels in order), ``soft`` (a distribution over
        classes), ``preference`` (which of two inputs wins), ``segmentation``,
        ``depth`` or ``normals`` (a label of each pixel; see
        :mod:`mtopt.models.pixels`), ``pretext`` (none: tasks that make their own; see
        :func:`mtopt.data.unlabelled`); or ``module:name``, a :class:`mtopt.Kind` of
        your own.
      outputs: the size of a head's output: classes, levels, label columns, 3 for
        normals, or 1; 0 of a pretext.
      x_axis: None for shared inputs, 0 for disjoint ones (see :class:`mtopt.Batch`).
      train: what the parameters are fitted on.
      valid: what the model is chosen on.
      test: read once, at the end.
      target_mean: regression targets were shifted by it, ``[K]`` in their own units.
      target_std: and divided by it, ``[K]``.
      target_scale: of targets that are kept in their own units, how large a difference
        is large, such as the deviation of depths, ``[K]``: errors are divided by it
        where they meet those of other tasks.
      reading: what the loader took its source for, as plain values by title: what it
        makes of each array, which ones it did not read. For
        :func:`mtopt.data.describe`.
      common_units: whether the targets of a regression are all in one unit, as the
        exam scores of several schools are. Otherwise an error is divided by its
        task's ``target_std`` before it meets those of other tasks.
      inverse_depth: whether depths are inverse ones, as disparities are: where an image
        is enlarged they grow, and depths shrink.
      encoding: what makes inputs of raw ones, as the loader did; None where it took
        them as they are.

    Raises:
      UserError: for task names out of order.
    """

    name: str
    tasks: tuple[str, ...]
    kind: str
    outputs: int
    x_axis: int | None
    train: Split
    valid: Split
    test: Split
    target_mean: np.ndarray | None = None
    target_std: np.ndarray | None = None
    target_scale: np.ndarray | None = None
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    common_units: bool = False
    inverse_depth: bool = False
    encoding: Encoding | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)

    @property
    def groups(self) -> tuple["Dataset", ...]:
        """Itself: all of its tasks are of one kind; see :func:`mtopt.data.join`."""
        return (self,)

    @property
    def units(self) -> Float[np.ndarray, " K"]:
        """What a task's errors are divided by where they meet those of other tasks.

        Ones where they are in one unit already: classes, and ``common_units``.
        """
        scale = self.target_scale if self.target_std is None else self.target_std
        if scale is None or self.common_units:
            return np.ones(len(self.tasks))
        return np.asarray(scale, np.float64)

    @property
    def in_one_unit(self) -> bool:
        """Whether the errors of all tasks can be compared as they are."""
        return bool((self.units == 1).all())


class ArraySplit(Split):
    """A split that lives on the device as one :class:`mtopt.Batch` of all its samples.

    Shared inputs are shuffled once per epoch, and a last incomplete batch is left
    out. Disjoint tasks each walk through a shuffle of their own samples; an epoch is
    as long as the largest task needs, smaller tasks go round several times, and a
    task with fewer samples than the batch size fills only part of its sub-batch.

    Args:
      samples: all samples, as one batch.
      x_axis: None for shared inputs, 0 for disjoint ones.

    Raises:
      UserError: for a split without samples, or of anything but numbers.

    Example:
      >>> import numpy as np
      >>> samples = Batch.shared(np.arange(6.), {"a": np.arange(6.)})
      >>> split = ArraySplit(samples, x_axis=None)
      >>> batch = next(split.batches(4, seeds=(0, 1)))
      >>> batch.x.shape, batch.y.shape
      ((2, 4), (2, 1, 4))
      >>> [int(b.mask.sum()) for b in split.in_order(4)]
      [4, 2]
    """

    def __init__(self, samples: Batch, x_axis: int | None) -> None:
        weights = np.asarray(as_mask("mask", np.array(samples.mask)))
        mask = is_real(weights)
        self.samples = dataclasses.replace(
            samples,
            x=_on_device("x", samples.x),
            y=_on_device("y", samples.y),
            mask=_on_device("mask", weights),
        )
        self.x_axis = x_axis
        self.size = int(mask.shape[1] if x_axis is None else mask.sum())
        self.labels = mask.sum(axis=1)
        if self.size == 0:
            raise UserError("a split has no samples: expected at least one")
        # Columns that are padding in every task are no samples of an epoch.
        self._longest = int(self.size if x_axis is None else self.labels.max())
        self.take, self._take_in_order = _taking(x_axis)

    @override
    def batches(
        self, batch_size: int, *, seeds: Sequence[int], start: int = 0
    ) -> Batches:
        numbers = self._numbers(batch_size, seeds, start)
        return Batches(self.take, self.samples, numbers)

    def _numbers(
        self, batch_size: int, seeds: Sequence[int], start: int
    ) -> Iterator[np.ndarray]:
        """Which samples each batch is made of, ``[S, b]`` or ``[S, K, b]``."""
        width = min(batch_size, self._longest)
        per_epoch = self.steps_per_epoch(batch_size)
        epoch, step = divmod(start, per_epoch)
        while True:
            order = np.stack([self._order(seed, epoch, width) for seed in seeds])
            for t in range(step, per_epoch):
                yield order[..., t * width : (t + 1) * width]
            epoch, step = epoch + 1, 0

    @override
    def steps_per_epoch(self, batch_size: int) -> int:
        width = min(batch_size, self._longest)
        # An incomplete batch of shared inputs is left out; disjoint ones are filled up.
        whole = self.x_axis is None
        return self._longest // width if whole else -(-self._longest // width)

    @override
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        longest = int(self.samples.mask.shape[1])
        width = min(batch_size, longest)
        for begin in range(0, longest, width):
            index = np.arange(begin, begin + width)
            index = np.where(index < longest, index, -1)
            if self.x_axis is not None:
                index = np.tile(index, (len(self.labels), 1))
            yield self._take_in_order(self.samples, index)

    def _order(self, seed: int, epoch: int, width: int) -> np.ndarray:
        """The order of one epoch: [n] for shared inputs, [K, n] for disjoint ones."""
        rng = np.random.default_rng([seed, epoch])
        if self.x_axis is None:
            return rng.permutation(self._longest)
        # A shuffle of each task's real samples comes first in its row, -1 after them.
        labelled = is_real(np.asarray(self.samples.mask))
        draws = np.where(labelled, rng.random(labelled.shape), 2.0)
        shuffled = np.argsort(draws, axis=1)
        position = np.arange(-(-self._longest // width) * width)
        counts = np.maximum(self.labels, 1)[:, None]
        order = np.take_along_axis(shuffled, position[None] % counts, axis=1)
        return np.where(position % width < counts, order, -1)


@functools.cache
def _taking(x_axis: int | None) -> tuple[Callable[..., Batch], Callable[..., Batch]]:
    """Batches from samples and numbers, for every seed and for one.

    One function for all splits: programs that call it are compiled once for all data
    sets of the same shapes.
    """
    one = functools.partial(_take, x_axis)
    return jax.jit(jax.vmap(one, in_axes=(None, 0))), jax.jit(one)


def _take(x_axis: int | None, samples: Batch, index: Int[Array, "*tasks b"]) -> Batch:
    """The samples at ``index``; -1 is padding, a masked copy of the last one."""
    drawn = index >= 0
    if x_axis is None:
        x = jax.tree.map(lambda leaf: leaf[index], samples.x)
        y = jax.tree.map(lambda leaf: leaf[:, index], samples.y)
        return Batch(x, y, narrowed(samples.mask[:, index], drawn[None]), samples.names)
    own = jax.vmap(lambda leaf, row: leaf[row])
    x, y = jax.tree.map(lambda leaf: own(leaf, index), (samples.x, samples.y))
    return Batch(x, y, narrowed(own(samples.mask, index), drawn), samples.names)


def _on_device(name: str, tree: Any) -> Any:
    """Copies, made by NumPy: JAX would compile a program for every shape."""

    def put(leaf: Any) -> Array:
        numbers = as_numbers(name, leaf)
        if isinstance(numbers, jax.Array):
            return numbers
        # In the dtype that it will have; put on a CPU, an array is not copied.
        dtype = jax.dtypes.canonicalize_dtype(numbers.dtype)
        return jax.device_put(np.array(numbers, dtype))

    return jax.tree.map(put, tree)
