"""What is made of the target and of a source before they are joined."""

import dataclasses

import numpy as np

from mtopt.data import join
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError

from ..common.in_memory import in_memory, of_rows


def first_labelled(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The data set with so many training samples, drawn at random; 0 keeps all.

    Raises:
      UserError: where there are not so many.
    """
    if count == 0:
        return dataset
    train = in_memory(dataset, "train")
    if count > train.size:
        raise UserError(
            f"labelled asks for {count} molecules of {dataset.name!r}: expected "
            f"{train.size} at most, or 0 for all"
        )
    rows = np.sort(np.random.default_rng(seed).permutation(train.size)[:count])
    return dataclasses.replace(dataset, train=of_rows(train, rows))


def permuted(dataset: Dataset, seed: int) -> Dataset:
    """The training labels of a molecule are those of another, all of them together."""
    train = in_memory(dataset, "train")
    order = np.random.default_rng([seed, 1]).permutation(train.size)
    other = of_rows(train, order).samples
    samples = dataclasses.replace(other, x=train.samples.x)
    return dataclasses.replace(dataset, train=ArraySplit(samples, None))


def beside(target: Dataset, source: Dataset) -> JointDataset:
    """Both, to be trained together, and scored by the target alone."""
    nothing = {}
    for part in ("valid", "test"):
        held = of_rows(in_memory(source, part), np.array([0]))
        unlabelled = np.zeros((len(source.tasks), 1), bool)
        samples = dataclasses.replace(held.samples, mask=unlabelled)
        nothing[part] = ArraySplit(samples, None)
    return join(target, dataclasses.replace(source, **nothing))
