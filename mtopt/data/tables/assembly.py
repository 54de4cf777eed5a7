"""From labels, inputs and parts to a data set: the last steps of reading a table."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Int, Integer, Num

from mtopt.data.dataset import Dataset
from mtopt.data.division import SPLITS, TRAIN, divide
from mtopt.data.encoding import Encoding
from mtopt.data.sources import JointDataset, join
from mtopt.data.stream import place
from mtopt.data.tables.class_weights import ClassWeights, with_class_weights
from mtopt.data.tables.npz_kinds import LISTED
from mtopt.data.tables.npz_labels import Labels
from mtopt.errors import UserError

NO_NAMES: Mapping[str, Sequence[str]] = {}


def divided(
    split: Int[np.ndarray, " N"],
    group: Integer[np.ndarray, " N"],
    rows: Int[np.ndarray, " N"],
    shares: Mapping[int, float],
    seed: int,
    source: str | pathlib.Path,
) -> Int[np.ndarray, " N"]:
    """Draws the parts that a table lacks, by :func:`mtopt.data.division.divide`.

    Args:
      split: the part of each row that has one, ``TRAIN`` else, -1 for rows left out.
      group: what is divided apart: the task of each row, or zeros.
      rows: a number for each row, the same for those that stay together.
      shares: later part to its share of the training rows.
      seed: of the draw.
      source: where the rows are from, for messages.

    Returns:
      The part of each row, ``[N]``.

    Raises:
      UserError: where a part is left without a row.

    Example:
      >>> zeros = np.zeros(10, int)
      >>> parts = divided(zeros, zeros, np.arange(10), {1: 0.2, 2: 0.2}, 0, "ten")
      >>> np.bincount(parts).tolist()
      [6, 2, 2]
    """
    drawn = {part: share for part, share in shares.items() if part not in split}
    split = divide(split, group, drawn, np.random.default_rng(seed), rows)
    for part, title in enumerate(SPLITS):
        if part not in split:
            raise UserError(
                f"{source}: no labelled sample left for {title}: add samples"
            )
    return split


def assembled(
    labels: Labels,
    x: Num[np.ndarray, "N ..."],
    split: Int[np.ndarray, " N"],
    *,
    min_labels: int,
    common_units: bool,
    on_device_bytes: int,
    name: str,
    reading: Mapping[str, Any],
    kind_words: Callable[[Sequence[str]], str],
    source: str | pathlib.Path,
    encoding: Encoding,
    classes: Mapping[str, Sequence[str]] = NO_NAMES,
    class_weights: ClassWeights | None = None,
) -> Dataset | JointDataset:
    """The data set of a table: plain where all tasks are of one kind, else joint.

    Args:
      labels: of the tasks asked for.
      x: all inputs.
      split: the part of each row; -1 for those left out.
      min_labels: as of :func:`mtopt.data.npz`.
      common_units: as of :func:`mtopt.data.npz`.
      on_device_bytes: as of :func:`mtopt.data.npz`.
      name: what to call the set.
      reading: what the table was understood to be.
      kind_words: where the kind of some tasks is from, for their ``reading``.
      source: where the rows are from, for messages.
      encoding: of the inputs.
      classes: task to the names of its classes, where they have names; every group of
        tasks has its own in its ``reading``.
      class_weights: as of :func:`mtopt.data.npz`.

    Raises:
      UserError: for common units of what is no regression, weights of classes that
        there are not, or too few labels.
    """
    if common_units and "regression" not in labels.kinds:
        raise UserError(
            f"{source}: common_units is of regressions, and the labels are "
            f"{labels.kinds[0]}: expected it to be left out"
        )
    train = split == TRAIN
    labels, of_classes = with_class_weights(
        labels, class_weights, train, classes, source
    )
    labels = labels.keep(_enough(labels, train, min_labels, source))

    def read(own: Labels) -> dict[str, Any]:
        found = {**reading, "kind": kind_words(own.names)}
        of_tasks = {"classes": classes, "class weights": of_classes}
        for title, by_task in of_tasks.items():
            if named := {n: by_task[n] for n in own.names if n in by_task}:
                found[title] = named
        return found

    groups = [
        _dataset(
            own, x, split, common_units, on_device_bytes, name, read(own), encoding
        )
        for own in labels.by_kind
    ]
    if len(groups) == 1:
        return groups[0]
    return join(*groups, name=name, shared_inputs=labels.task is None)


def _dataset(
    labels: Labels,
    x: np.ndarray,
    split: np.ndarray,
    common_units: bool,
    on_device_bytes: int,
    name: str,
    reading: Mapping[str, Any],
    encoding: Encoding,
) -> Dataset:
    """The tasks of one kind, with all inputs and the part ``[N]`` of each sample."""
    (kind, *_) = labels.kinds
    common = common_units and kind == "regression"
    train = split == TRAIN
    labels, mean, std = labels.weighing(train).scaled(train, common)
    batches = {
        title: labels.batch(x, split == part, weighted=part == TRAIN)
        for part, title in enumerate(SPLITS)
    }
    x_axis = None if labels.task is None else 0
    parts: dict[str, Any] = {**place(batches, x_axis, on_device_bytes)}
    return Dataset(
        name=name,
        tasks=labels.names,
        kind=kind,
        outputs=labels.outputs,
        x_axis=x_axis,
        target_mean=mean,
        target_std=std,
        reading=reading,
        common_units=common,
        encoding=encoding,
        **parts,
    )


def _enough(
    labels: Labels, train: np.ndarray, min_labels: int, source: str | pathlib.Path
) -> np.ndarray:
    """Which tasks have the training labels they need, ``[K]`` bool."""
    counts = labels.counts(train)
    enough = counts >= max(min_labels, 1)
    few = [
        f"{n} ({c})"
        for n, c, e in zip(labels.names, counts, enough, strict=True)
        if not e
    ]
    if len(few) > LISTED:
        few[LISTED:] = [f"{len(few) - LISTED} more"]
    if few and (min_labels == 0 or not enough.any()):
        raise UserError(
            f"{source}: tasks with fewer than {max(min_labels, 1)} training labels: "
            f"{', '.join(few)}; drop them (min_labels=1 does), or add labels"
        )
    if few:
        logging.warning(
            "%s: dropped %d of %d tasks with fewer than %d training labels: %s",
            source,
            (~enough).sum(),
            len(counts),
            min_labels,
            ", ".join(few),
        )
    return enough
