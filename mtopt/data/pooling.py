"""One task in several sources: their samples together, as one data set."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mtopt.batch import Batch, is_real
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.division import SPLITS
from mtopt.data.encoding import Encoding, Unknown
from mtopt.data.encodings import encoding_of
from mtopt.data.equal_rows import equal_rows, on_both_sides
from mtopt.data.tables.scaling import target_moments
from mtopt.errors import UserError


def pooled(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Sources that have a task in common are made one, others stay as they are.

    Args:
      datasets: the sources.

    Returns:
      As many as there are without a task in common, each in the place of its first.

    Raises:
      UserError: for sources to be made one whose labels or inputs are of other kinds.
    """
    found: list[list[Dataset]] = []
    for dataset in datasets:
        met = [own for own in found if _have_a_task_in_common(own, dataset)]
        apart = [own for own in found if own not in met]
        # It may be what joins sources that had nothing in common so far.
        together = [*(each for own in met for each in own), dataset]
        place = found.index(met[0]) if met else len(found)
        found = [*apart[:place], together, *apart[place:]]
    return [own[0] if len(own) == 1 else _pool(own) for own in found]


def _have_a_task_in_common(sources: Sequence[Dataset], dataset: Dataset) -> bool:
    return any(set(source.tasks) & set(dataset.tasks) for source in sources)


def _pool(sources: Sequence[Dataset]) -> Dataset:
    """One data set of several: their samples one after the other, in every part."""
    _check(sources)
    first, *_ = sources
    names = tuple(sorted({name for source in sources for name in source.tasks}))
    mean, std = _moments(sources, names)
    rescaled = [_rescaled(source, names, mean, std) for source in sources]
    parts = {}
    for part in SPLITS:
        samples = [dict(each[part]) for each in rescaled]
        whole = _in_one_table if first.x_axis is None else _task_by_task
        parts[part] = ArraySplit(whole(samples, names), first.x_axis)
    return dataclasses.replace(
        first,
        name=" and ".join(dict.fromkeys(source.name for source in sources)),
        tasks=names,
        outputs=max(source.outputs for source in sources),
        target_mean=mean,
        target_std=std,
        reading={"equal inputs": _overlap(parts)} | _classes(sources),
        encoding=_encoding(sources),
        **parts,
    )


def _classes(sources: Sequence[Dataset]) -> dict[str, Any]:
    """The names of the classes of all tasks, as part of a reading.

    Raises:
      UserError: where a task has other ones, whose codes mean another thing, in two.
    """
    found: dict[str, tuple[str, ...]] = {}
    for source in sources:
        names = source.reading.get("classes", {})
        for task in source.tasks:
            own = tuple(names.get(task, ()))
            if found.setdefault(task, own) != own:
                raise UserError(
                    f"the classes of task {task!r} are {found[task]} in one source and "
                    f"{own} in {source.name!r}: expected the same, or other names"
                )
    found = {task: names for task, names in found.items() if names}
    return {"classes": found} if found else {}


def _encoding(sources: Sequence[Dataset]) -> Encoding:
    """What raw inputs become: of sources that were scaled apart there is no one way."""
    first, *others = map(encoding_of, sources)
    if any(other != first for other in others):
        names = ", ".join(source.name for source in sources)
        return Unknown(f"the samples of {names} were scaled by those of each")
    return first


def _overlap(parts: dict[str, ArraySplit]) -> dict[str, int]:
    """Samples that one source trains on, and another is tested on, among others."""
    inputs, tasks, split = [], [], []
    for number, part in enumerate(SPLITS):
        held = jax.tree.map(np.asarray, parts[part].samples)
        task = np.zeros(held.mask.shape[1], int)
        x = held.x
        if parts[part].x_axis is not None:
            real = is_real(held.mask)
            task = np.nonzero(real)[0]
            x = jax.tree.map(lambda leaf, real=real: leaf[real], x)
        inputs.append(jax.tree.leaves(x))
        tasks.append(task)
        split.append(np.full(len(task), number))
    blocks = [np.concatenate(leaves) for leaves in zip(*inputs, strict=True)]
    rows = equal_rows(*blocks, np.concatenate(tasks))
    return on_both_sides(rows, np.concatenate(split))


def _check(sources: Sequence[Dataset]) -> None:
    """Raises unless the samples of all can stand in one table."""
    for part in SPLITS:
        for source in sources:
            if not isinstance(getattr(source, part), ArraySplit):
                raise UserError(
                    f"the {part} samples of {source.name!r} are streamed: expected "
                    "sources in memory to pool (a larger on_device_bytes)"
                )
    first, *others = sources
    for other in others:
        for what, one, two in zip(
            ("kind of labels", "common_units", "x_axis", "inputs of a sample"),
            _form(first),
            _form(other),
            strict=True,
        ):
            if one != two:
                raise UserError(
                    f"{first.name!r} and {other.name!r} have a task in common, and "
                    f"their {what} differ: {one} and {two}; expected the same, or "
                    "other names"
                )


def _form(source: Dataset) -> tuple[Any, ...]:
    """What sources to be pooled have to agree in."""
    lead = 1 if source.x_axis is None else 2
    held: Any = source.train
    inputs = jax.tree.map(
        lambda leaf: f"{leaf.dtype}{list(leaf.shape[lead:])}", held.samples.x
    )
    return source.kind, source.common_units, source.x_axis, str(inputs)


def _moments(
    sources: Sequence[Dataset], names: Sequence[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean and deviation of each task's training labels, over all sources, ``[K]``."""
    if all(source.target_std is None for source in sources):
        return None, None
    labels = [
        np.concatenate(
            [
                _in_own_units(source, "train", source.tasks.index(name))
                for source in sources
                if name in source.tasks
            ]
        )
        for name in names
    ]
    return target_moments(labels, sources[0].common_units)


def _in_own_units(source: Dataset, part: str, k: int) -> np.ndarray:
    """The labels of a task that are not missing."""
    held = getattr(source, part).samples
    values = np.asarray(held.y[k], np.float64)[is_real(np.asarray(held.mask[k]))]
    if source.target_mean is None or source.target_std is None:
        return values
    return values * source.target_std[k] + source.target_mean[k]


Rows = tuple[Any, np.ndarray, np.ndarray]
"""Inputs, labels and mask of the samples of a task in a source."""


def _rescaled(
    source: Dataset,
    names: Sequence[str],
    mean: np.ndarray | None,
    std: np.ndarray | None,
) -> dict[str, dict[str, Rows]]:
    """Of each part the samples of each task, labels by the moments of all sources."""
    found = {}
    for part in SPLITS:
        held = jax.tree.map(np.asarray, getattr(source, part).samples)
        found[part] = {}
        for k, name in enumerate(source.tasks):
            y = held.y[k]
            if mean is not None and std is not None:
                real = is_real(held.mask[k])
                known = np.zeros(real.shape)
                known[real] = _in_own_units(source, part, k)
                place = list(names).index(name)
                y = np.where(real, (known - mean[place]) / std[place], 0)
                y = y.astype(held.y.dtype)
            x = held.x
            if source.x_axis is not None:
                x = jax.tree.map(lambda leaf, k=k: leaf[k], x)
            found[part][name] = (x, y, held.mask[k])
    return found


def _in_one_table(sources: Sequence[dict[str, Rows]], names: Sequence[str]) -> Batch:
    """Shared inputs: all rows, without labels of the tasks that a source lacks."""
    xs = [next(iter(own.values()))[0] for own in sources]
    x = jax.tree.map(lambda *leaves: np.concatenate(leaves), *xs)

    def column(own: dict[str, Rows], name: str) -> tuple[np.ndarray, np.ndarray]:
        if name in own:
            return own[name][1:]
        _, y, mask = next(iter(own.values()))
        return np.zeros_like(y), np.zeros_like(mask)

    rows = [[column(own, name) for own in sources] for name in names]
    y = np.stack([np.concatenate([y for y, _ in row]) for row in rows])
    mask = np.stack([np.concatenate([mask for _, mask in row]) for row in rows])
    return Batch(x, y, mask, tuple(names))


def _task_by_task(sources: Sequence[dict[str, Rows]], names: Sequence[str]) -> Batch:
    """Inputs of their own: the samples of each task, from all sources that have it."""

    def samples(name: str) -> Rows:
        own = []
        for each in sources:
            if name in each:
                real = is_real(each[name][2])
                rows = jax.tree.map(lambda leaf, real=real: leaf[real], each[name])
                own.append(rows)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *own)

    found = {name: samples(name) for name in names}
    return Batch.disjoint(
        {name: (x, y) for name, (x, y, _) in found.items()},
        {name: mask for name, (_, _, mask) in found.items()},
    )
