"""From the parts of prepared sets to data sets: the last steps of reading them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mtopt.data.dataset import Dataset, Split
from mtopt.data.placed import placed
from mtopt.data.prepared.choice import TaskFeature, in_words, is_image
from mtopt.data.prepared.samples import (
    Chosen,
    Part,
    PreparedSource,
    Scale,
    read_inputs,
    scales,
)
from mtopt.data.sources import JointDataset, join
from mtopt.errors import UserError

Parts = Mapping[str, Part]


def assembled(
    chosen: Chosen, parts: Parts, *, on_device_bytes: int
) -> Dataset | JointDataset:
    """The tasks of one set on one input: a data set, or one of a group for each kind.

    Args:
      chosen: what of the set is read.
      parts: of the set.
      on_device_bytes: as of :func:`mtopt.data.tfds`.

    Raises:
      UserError: as of :func:`mtopt.data.tfds`.
    """
    scaling = scales(parts, chosen.tasks)
    _input_shapes(chosen, parts)
    sources = {t: PreparedSource(part, chosen, scaling) for t, part in parts.items()}
    names = [tuple(task.task for task in group) for group in chosen.groups]
    splits = placed(sources, names, on_device_bytes)
    name = parts["train"].found.name
    reading = _reading([(chosen, parts)])
    groups = [
        _dataset(name, group, scaling, own, None, reading)
        for group, own in zip(chosen.groups, splits, strict=True)
    ]
    if len(groups) == 1:
        return groups[0]
    return join(*groups, name=name, shared_inputs=True)


def disjoint(
    read: Sequence[tuple[Chosen, Parts]], *, on_device_bytes: int
) -> Dataset | JointDataset:
    """Several sets, whose tasks have samples of their own.

    Args:
      read: of each set, what of it is read, and its parts.
      on_device_bytes: as of :func:`mtopt.data.tfds`; each set of several groups has its
        part of it.

    Raises:
      UserError: as of :func:`mtopt.data.tfds`.
    """
    read = [(_renamed(chosen, parts), parts) for chosen, parts in read]
    shapes = {
        parts["train"].found.name: _input_shapes(chosen, parts)
        for chosen, parts in read
    }
    if len({str(shape) for shape in shapes.values()}) > 1:
        words = "; ".join(f"{name} has {shape}" for name, shape in shapes.items())
        raise UserError(
            f"the sets have inputs of several shapes, {words}: expected one, which "
            "size=... brings images to"
        )
    kinds = {task.kind for chosen, _ in read for task in chosen.tasks}
    if len(kinds) > 1 or any(len(chosen.tasks) > 1 for chosen, _ in read):
        share = on_device_bytes // len(read)
        return join(
            *(assembled(c, parts, on_device_bytes=share) for c, parts in read),
            name=" + ".join(shapes),
        )
    return _one_group(read, on_device_bytes, " + ".join(shapes))


def _one_group(
    read: Sequence[tuple[Chosen, Parts]], on_device_bytes: int, name: str
) -> Dataset:
    """Sets with one task each, all of one kind."""
    scaling = {}
    for chosen, parts in read:
        scaling |= scales(parts, chosen.tasks)
    tasks = sorted((task for c, _ in read for task in c.tasks), key=lambda t: t.task)
    sources = {
        title: {
            chosen.tasks[0].task: PreparedSource(
                parts[title], chosen, scaling, alone=True
            )
            for chosen, parts in read
        }
        for title in read[0][1]
    }
    (splits,) = placed(sources, [tuple(t.task for t in tasks)], on_device_bytes)
    return _dataset(name, tasks, scaling, splits, 0, _reading(read))


def _dataset(
    name: str,
    tasks: Sequence[TaskFeature],
    scaling: Mapping[str, Scale],
    splits: Mapping[str, Split],
    x_axis: int | None,
    reading: Mapping[str, Any],
) -> Dataset:
    """The tasks of one kind."""
    numbers = tasks[0].kind == "regression"
    own = [scaling[task.task] for task in tasks]
    classes = {task.task: task.classes for task in tasks if task.classes}
    if classes:
        reading = {**reading, "classes": classes}
    return Dataset(
        name=name,
        tasks=tuple(task.task for task in tasks),
        kind=tasks[0].kind,
        outputs=max(scale.outputs for scale in own),
        x_axis=x_axis,
        target_mean=np.array([scale.mean for scale in own]) if numbers else None,
        target_std=np.array([scale.std for scale in own]) if numbers else None,
        reading=reading,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
    )


def _renamed(chosen: Chosen, parts: Parts) -> Chosen:
    """With tasks named by their set, too: by it alone where there is but one."""
    name = parts["train"].found.name
    several = len(chosen.tasks) > 1
    return dataclasses.replace(
        chosen,
        groups=tuple(
            tuple(
                dataclasses.replace(t, task=f"{name}/{t.task}" if several else name)
                for t in group
            )
            for group in chosen.groups
        ),
    )


def _input_shapes(chosen: Chosen, parts: Parts) -> Any:
    """Types and shapes of the inputs of a sample.

    Raises:
      UserError: for images of several sizes.
    """
    part = parts["train"]
    for name in chosen.inputs:
        shape = part.found.features[name].shape
        if None in shape and chosen.size is None:
            raise UserError(
                f"{part.found.name}: {name} has images of several sizes, {shape}: "
                "expected size=..., pixels to bring them to"
            )
    records = part.found.records(part.split, chosen.inputs)
    (first,) = records.__getitems__([int(part.rows[0])])
    x = read_inputs(first, part, chosen)
    return jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", x)


def _reading(read: Sequence[tuple[Chosen, Parts]]) -> dict[str, Any]:
    """What the sets were understood to be."""
    sets = [parts["train"].found for _, parts in read]
    used = {name for chosen, _ in read for name in chosen.names}
    inputs = {}
    for (chosen, _), found in zip(read, sets, strict=True):
        for name in chosen.inputs:
            feature = found.features[name]
            sized = chosen.size is not None and is_image(feature)
            brought = f", brought to {chosen.size}" if sized else ", as it is stored"
            inputs[name] = in_words(feature) + brought
    return {
        "file": ", ".join(str(found.path) for found in sets),
        "inputs": inputs,
        "kind": "by its feature, or as given",
        "not read": sorted({name for found in sets for name in found.features} - used),
    }
