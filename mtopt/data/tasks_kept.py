"""Some tasks of a data set alone."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset, Split
from mtopt.data.division import SPLITS
from mtopt.data.random_access import SomeLabels
from mtopt.data.stream import StreamSplit
from mtopt.errors import UserError, expect, nearest


def keep_tasks(dataset: Dataset, tasks: Sequence[str] | None) -> Dataset:
    """Leaves the other tasks out: what every loader does with its ``tasks``.

    Samples, their parts and their order in batches stay as they are with all tasks;
    with shared inputs, a sample whose labels are all left out stays too, unlabelled.

    Args:
      dataset: of K tasks.
      tasks: the names to keep, in any order, or one name; None keeps all.

    Returns:
      The data set of these tasks.

    Raises:
      UserError: for a name that is no task, or one that stands twice, or none at all.

    Example:
      >>> from mtopt.data import multi_digits
      >>> counts = {"num_train": 8, "num_valid": 4, "num_test": 4}
      >>> keep_tasks(multi_digits(**counts), ("right",)).tasks
      ('right',)
    """
    if tasks is None:
        return dataset
    names = kept_names(dataset.tasks, tasks)
    rows = np.array([dataset.tasks.index(name) for name in names])
    moments = {
        field: np.asarray(each)[rows]
        for field in ("target_mean", "target_std", "target_scale")
        if (each := getattr(dataset, field)) is not None
    }
    parts = {title: _kept(getattr(dataset, title), rows, names) for title in SPLITS}
    return dataclasses.replace(dataset, tasks=names, **moments, **parts)


def kept_names(known: Sequence[str], tasks: Sequence[str] | None) -> tuple[str, ...]:
    """The names to keep, sorted.

    Args:
      known: all there are.
      tasks: as of :func:`keep_tasks`.

    Raises:
      UserError: as :func:`keep_tasks`.
    """
    if tasks is None:
        return tuple(known)
    asked = _asked(tasks)
    for name in asked:
        if name not in known:
            raise UserError(f"tasks names {name!r}: {nearest(name, list(known))}")
    if not asked or len(set(asked)) < len(asked):
        raise UserError(
            f"tasks is {asked}: expected one name or more, none of it twice"
        )
    return tuple(sorted(asked))


def _asked(tasks: Any) -> tuple[Any, ...]:
    """What is asked for, as several names, whatever they are."""
    if isinstance(tasks, str):
        return (tasks,)
    several = isinstance(tasks, Collection)
    expect(several, "tasks", tasks, "names of tasks, or None for all")
    return tuple(tasks)


def _kept(split: Split, rows: np.ndarray, names: tuple[str, ...]) -> Split:
    if isinstance(split, ArraySplit):
        return ArraySplit(_some(split.samples, rows, names, split.x_axis), split.x_axis)
    if isinstance(split, StreamSplit):
        return _streamed(split, rows, names)
    raise UserError(
        f"tasks names some of a split of type {type(split).__name__}: expected an "
        "ArraySplit or a StreamSplit"
    )


def _streamed(
    split: StreamSplit, rows: np.ndarray, names: tuple[str, ...]
) -> StreamSplit:
    if split.held is not None:
        some = _some(split.held, rows, names, split.x_axis)
        return StreamSplit.of(some, split.x_axis)
    if split.x_axis is not None:
        own = {name: split.sources[k] for name, k in zip(names, rows, strict=True)}
        return StreamSplit(own, workers=split.workers)
    (source,) = split.sources
    view = (
        source.kept(rows)
        if isinstance(source, SomeLabels)
        else SomeLabels(source, None, rows)
    )
    return StreamSplit(view, workers=split.workers)


def _some(
    samples: Batch, rows: np.ndarray, names: tuple[str, ...], x_axis: int | None
) -> Batch:
    """A batch without the labels of other tasks, and without inputs of theirs alone."""
    x = samples.x
    if x_axis is not None:
        x = jax.tree.map(lambda leaf: leaf[rows], x)
    y = jax.tree.map(lambda leaf: leaf[rows], samples.y)
    return Batch(x, y, samples.mask[rows], None if samples.names is None else names)
