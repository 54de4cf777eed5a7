"""Several data sets as one: tasks of other kinds of labels, or with other inputs."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, overload

import jax
import numpy as np
from typing_extensions import override

from mtopt.batch import Batch
from mtopt.data.batches import Batches
from mtopt.data.dataset import ArraySplit, Dataset, Split
from mtopt.data.division import SPLITS
from mtopt.data.pooling import pooled
from mtopt.data.stream import StreamSplit, one_stream
from mtopt.errors import UserError, expect


@dataclasses.dataclass(frozen=True)
class JointDataset:
    """Data sets whose tasks are trained together, each a group of its own.

    :func:`join` makes it. What a :class:`mtopt.data.Dataset` says of its tasks, kind,
    outputs and units, ``groups`` say here, each of its own.

    Args:
      name: what to call it in tables.
      groups: the data sets, by the order of their tasks.
      shared_inputs: True where every sample has labels of all groups.
      batch_sizes: samples of each group in a step; None: as many as are asked for.
      train: of all groups; batches are those that :class:`mtopt.TaskGroups` take.
      valid: likewise.
      test: likewise.
    """

    name: str
    groups: tuple[Dataset, ...]
    shared_inputs: bool
    batch_sizes: tuple[int | None, ...]
    train: Split
    valid: Split
    test: Split

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all tasks, sorted."""
        return tuple(sorted(name for group in self.groups for name in group.tasks))


@overload
def join(
    *datasets: Dataset | JointDataset,
    name: str | None = None,
    batch_size: Sequence[int] | None = None,
    shared_inputs: bool = False,
    pool: Literal[False] = False,
) -> JointDataset: ...


@overload
def join(
    *datasets: Dataset | JointDataset,
    name: str | None = None,
    batch_size: Sequence[int] | None = None,
    pool: bool,
) -> Dataset | JointDataset: ...


def join(
    *datasets: Dataset | JointDataset,
    name: str | None = None,
    batch_size: Sequence[int] | None = None,
    shared_inputs: bool = False,
    pool: bool = False,
) -> Dataset | JointDataset:
    """Makes one data set of several: the step then trains all of their tasks.

    A source keeps what it has alone: its parts, the order of its samples, its scaling.
    In a step each gives a batch of its own; an epoch is as long as the longest takes,
    and shorter ones go round several times.

    Args:
      *datasets: the sources, two or more, of any kinds of labels; the groups of one
        that is joined itself are sources each, with the batch sizes that they have in
        it unless given here.
      name: of the whole; those of the sources, joined, unless given.
      batch_size: samples of each source in a step, in the order given; as many of each
        as the step is asked for unless given.
      shared_inputs: True for sources of the same samples in the same order, as columns
        of other kinds are: the encoder then runs once for all.
      pool: whether a task name that stands in two sources is one task. Sources that
        have a task in common become one group, whose samples are those of all, one
        source after the other in each part; where one has no label of a task, it is
        missing. Targets of regressions are scaled by the moments of all training
        labels; inputs stay as each source has them, scaled by its own samples.

    Returns:
      The data set, groups in the order of their first tasks; with ``pool`` a plain one
      where all sources become one.

    Raises:
      UserError: for less than two sources, one without labels to train on, a task
        name that stands in two of them without ``pool``, sources that can't be pooled,
        shared inputs that differ, or batch sizes that are no numbers of samples.

    Example:
      >>> from mtopt.data import multi_digits
      >>> counts = {"num_train": 8, "num_valid": 4, "num_test": 4}
      >>> digits = multi_digits(**counts)
      >>> y = np.arange(8.)
      >>> split = ArraySplit(Batch.shared(np.ones((8, 3)), {"size": y}), None)
      >>> sizes = Dataset("sizes", ("size",), "regression", 1, None, *[split] * 3)
      >>> both = join(digits, sizes, batch_size=(4, 2))
      >>> both.name, both.tasks
      ('multi_digits + sizes', ('left', 'right', 'size'))
      >>> batch = next(both.train.batches(4, seeds=(0,)))
      >>> [mask.shape for mask in batch.mask]
      [(1, 2, 4), (1, 1, 2)]
    """
    _check_sources(datasets)
    for field, value in {"shared_inputs": shared_inputs, "pool": pool}.items():
        expect(value in (True, False), field, value, "True or False")
    sizes = _sizes(batch_size, len(datasets))
    sources = [
        source
        for dataset, size in zip(datasets, sizes, strict=True)
        for source in _sources(dataset, size)
    ]
    if pool:
        expect(not shared_inputs, "shared_inputs", shared_inputs, "False with pool")
        expect(batch_size is None, "batch_size", batch_size, "none with pool")
        sources = [(each, None) for each in pooled([g for g, _ in sources])]
        if len(sources) == 1:
            ((whole, _),) = sources
            return whole if name is None else dataclasses.replace(whole, name=name)
    _check_names([group for group, _ in sources])
    _check_labels([group for group, _ in sources])
    if shared_inputs:
        expect(batch_size is None, "batch_size", batch_size, "none for shared inputs")
        sources = [(each, None) for each in _on_one_input([g for g, _ in sources])]
    sources.sort(key=lambda source: source[0].tasks[0])
    groups, own = zip(*sources, strict=True)
    parts = {
        part: JointSplit([getattr(g, part) for g in groups], own, shared_inputs)
        for part in SPLITS
    }
    joined = name or " + ".join(dict.fromkeys(group.name for group in groups))
    return JointDataset(joined, groups, shared_inputs, own, **parts)


class JointSplit(Split):
    """A part of several data sets: each batch has samples of all.

    Args:
      parts: of each source.
      batch_sizes: samples of each in a batch; None: as many as are asked for.
      shared_inputs: True where the parts have the same inputs.
    """

    def __init__(
        self,
        parts: Sequence[Split],
        batch_sizes: Sequence[int | None],
        shared_inputs: bool,
    ) -> None:
        self.parts = tuple(parts)
        self.shared_inputs = shared_inputs
        self.size = parts[0].size if shared_inputs else sum(p.size for p in parts)
        self.batch_sizes = tuple(batch_sizes)
        self._stream = one_stream(parts) if shared_inputs else None

    @override
    def batches(
        self, batch_size: int, *, seeds: Sequence[int], start: int = 0
    ) -> Iterator[Batch]:
        if self._stream is not None:
            return self._stream.batches(batch_size, seeds=seeds, start=start)
        streams = [
            part.batches(own, seeds=seeds, start=start)
            for part, own in zip(self.parts, self._sizes(batch_size), strict=True)
        ]
        inside = [stream for stream in streams if isinstance(stream, Batches)]
        together = _Together(
            tuple(stream.make for stream in inside), self.shared_inputs
        )
        if len(inside) < len(streams):
            return map(together.of, zip(*streams, strict=True))
        common = [stream.common for stream in inside]
        if self.shared_inputs:  # of which one copy is enough
            common[1:] = [dataclasses.replace(each, x=()) for each in common[1:]]
        numbers = zip(*(stream.parts for stream in inside), strict=True)
        return Batches(together, tuple(common), numbers)

    @override
    def steps_per_epoch(self, batch_size: int) -> int:
        sizes = self._sizes(batch_size)
        own = zip(self.parts, sizes, strict=True)
        return max(part.steps_per_epoch(size) for part, size in own)

    @override
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """As of each part; one that has ended goes on without labels."""
        if self._stream is not None:
            yield from self._stream.in_order(batch_size)
            return
        streams = [part.in_order(batch_size) for part in self.parts]
        last: list[Batch] = []
        for found in itertools.zip_longest(*streams):
            last = [
                _unlabelled(last[i]) if batch is None else batch
                for i, batch in enumerate(found)
            ]
            yield _Together((), self.shared_inputs).of(last)

    def _sizes(self, batch_size: int) -> list[int]:
        return [own or batch_size for own in self.batch_sizes]


@dataclasses.dataclass(frozen=True)
class _Together:
    """One batch of those of all sources.

    Called with the samples of each source and their numbers. It is equal for sources of
    equal forms: a program that makes batches by it is compiled once for all of them.

    Args:
      takes: of each source, what makes a batch of samples and their numbers.
      shared_inputs: True where the batches have the same inputs.
    """

    takes: tuple[Callable[[Any, Any], Batch], ...]
    shared_inputs: bool

    def of(self, batches: Sequence[Batch]) -> Batch:
        """One batch of those of the sources."""
        first, *_ = batches
        x = first.x if self.shared_inputs else tuple(batch.x for batch in batches)
        names = tuple(batch.names for batch in batches)
        return Batch(
            x,
            tuple(batch.y for batch in batches),
            tuple(batch.mask for batch in batches),
            None if None in names else names,
        )

    def __call__(self, common: Any, numbers: Any) -> Batch:
        own = zip(self.takes, common, numbers, strict=True)
        return self.of([take(c, n) for take, c, n in own])


def _unlabelled(batch: Batch) -> Batch:
    return dataclasses.replace(batch, mask=np.zeros_like(batch.mask))


def _check_sources(datasets: Sequence[Any]) -> None:
    """Raises unless there are two data sets or more."""
    for each in datasets:
        if not isinstance(each, Dataset | JointDataset):
            raise UserError(
                f"a {type(each).__name__} among the sources to join: expected data "
                "sets, each an argument of its own"
            )
    if len(datasets) < 2:
        count = f"{len(datasets)} source{'s' * (len(datasets) != 1)}"
        raise UserError(f"{count} to join: expected two or more")


def _sizes(batch_size: Any, count: int) -> Sequence[int | None]:
    """The samples of each source in a step; None: as many as are asked for."""
    if batch_size is None:
        return [None] * count
    several = isinstance(batch_size, Sequence)
    expect(several, "batch_size", batch_size, "a number of samples for each source")
    if len(batch_size) != count:
        raise UserError(
            f"batch_size has {len(batch_size)} entries for {count} sources: "
            "expected one each"
        )
    for size in batch_size:
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        good = size is None or (whole and size >= 1)
        expect(good, "batch_size", batch_size, "whole numbers, 1 or more each")
    return batch_size


def _sources(
    dataset: Dataset | JointDataset, size: int | None
) -> list[tuple[Dataset, int | None]]:
    """The groups with the samples of each in a step; of joined ones as they were."""
    if isinstance(dataset, Dataset):
        return [(dataset, size)]
    own = zip(dataset.groups, dataset.batch_sizes, strict=True)
    return [(group, size or before) for group, before in own]


def _check_labels(datasets: Sequence[Dataset]) -> None:
    """Raises for a source that nothing can be learned from."""
    for dataset in datasets:
        train = dataset.train
        if isinstance(train, ArraySplit) and not train.labels.any():
            raise UserError(
                f"{dataset.name!r} has no label among its training samples: expected "
                "one at least; leave it out"
            )


def _check_names(datasets: Sequence[Dataset]) -> None:
    """Raises where a task stands in two sources."""
    of_task: dict[str, str] = {}
    for dataset in datasets:
        for task in dataset.tasks:
            if task in of_task:
                raise UserError(
                    f"task {task!r} stands in {of_task[task]!r} and in "
                    f"{dataset.name!r}: expected another name, one of them without it "
                    "(tasks=...), or pool=True for one task of the samples of both"
                )
            of_task[task] = dataset.name


def _on_one_input(datasets: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The sources on the inputs of the first, which they have to be equal to.

    Raises:
      UserError: unless all have the same samples, each for all of its tasks.
    """
    first, *others = datasets
    for dataset in datasets:
        if dataset.x_axis is not None:
            raise UserError(
                f"shared_inputs=True, and the tasks of {dataset.name!r} have inputs of "
                "their own"
            )
    for other in others:
        for part in SPLITS:
            one, two = getattr(first, part), getattr(other, part)
            if not _same_inputs(one, two):
                raise UserError(
                    f"shared_inputs=True, and the {part} inputs of {first.name!r} and "
                    f"{other.name!r} differ: expected the same samples in the same "
                    "order, joined before they are augmented"
                )
    return (first, *(_with_inputs(first, other) for other in others))


def _with_inputs(first: Dataset, other: Dataset) -> Dataset:
    """The second, with the arrays of the first in place of its own equal ones."""
    parts = {}
    for part in SPLITS:
        one, two = getattr(first, part), getattr(other, part)
        parts[part] = two
        if isinstance(one, ArraySplit) and isinstance(two, ArraySplit):
            samples = dataclasses.replace(two.samples, x=one.samples.x)
            parts[part] = ArraySplit(samples, two.x_axis)
    return dataclasses.replace(other, **parts)


def _inputs(split: Split) -> Any:
    """All of them, where they are in memory."""
    if isinstance(split, StreamSplit):
        return None if split.held is None else split.held.x
    return split.samples.x if isinstance(split, ArraySplit) else None


def _same_inputs(one: Split, two: Split) -> bool:
    if one_stream([one, two]) is not None:
        return True
    x, other = _inputs(one), _inputs(two)
    if x is None or type(one) is not type(two):
        return False
    if jax.tree.structure(x) != jax.tree.structure(other):
        return False
    leaves = zip(jax.tree.leaves(x), jax.tree.leaves(other), strict=True)
    return all(a is b or np.array_equal(a, b, equal_nan=True) for a, b in leaves)
