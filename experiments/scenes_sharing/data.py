"""What the arms of a seed are trained on."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mtopt.batch import is_real
from mtopt.data import join
from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError

from ..common.building import load_dataset
from ..common.in_memory import in_memory, of_rows


class Draw(NamedTuple):
    """The data of a seed.

    Attributes:
      alone: task to its own labelled images.
      joint: all of these.
      beside: task to the same with the labels of all other tasks permuted.
    """

    alone: Mapping[str, Dataset]
    joint: JointDataset
    beside: Mapping[str, JointDataset]


def draw(text: str, data_dir: pathlib.Path | None, seed: int) -> Draw:
    """The data of a seed, of which no arm has another image, or another order.

    Args:
      text: the data set, without ``seed`` and ``permuted``.
      data_dir: the user's folder of data sets.
      seed: of what is drawn.

    Raises:
      UserError: for data that can't be read, without these options, or of other than
        several groups of one task.
    """
    real = load_dataset(text, data_dir, seed=seed)
    permuted = load_dataset(text, data_dir, seed=seed, permuted=True)
    alone, mixed = ({g.tasks: _labelled(g) for g in d.groups} for d in (real, permuted))
    if len(alone) < 2 or any(len(tasks) > 1 for tasks in alone):
        raise UserError(
            f"{text!r} has {len(alone)} group{'s' * (len(alone) != 1)} of tasks, of "
            f"{' and '.join(str(len(tasks)) for tasks in alone)}: expected two groups "
            "or more, each of one task, as scenes has"
        )
    # What is tested is the same, and held once.
    control = {
        tasks: dataclasses.replace(group, train=mixed[tasks].train)
        for tasks, group in alone.items()
    }
    beside = {
        task: join(*(control | {(task,): alone[task,]}).values()) for (task,) in alone
    }
    by_task = {task: group for (task,), group in alone.items()}
    return Draw(by_task, join(*alone.values()), beside)


def _labelled(group: Dataset) -> Dataset:
    """The data set with the training samples alone that have a label."""
    train = in_memory(group, "train")
    rows = np.flatnonzero(is_real(np.asarray(train.samples.mask)).any(axis=0))
    return dataclasses.replace(group, train=of_rows(train, rows))
