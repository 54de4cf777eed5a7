"""Some samples of a part of a data set."""

import dataclasses

import jax
import numpy as np

from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.errors import UserError


def in_memory(dataset: Dataset, part: str) -> ArraySplit:
    """A part whose samples can be picked.

    Args:
      dataset: with inputs that all of its tasks share.
      part: ``train``, ``valid`` or ``test``.

    Raises:
      UserError: where they are not arrays, or each task has its own.
    """
    split = getattr(dataset, part)
    if not isinstance(split, ArraySplit) or split.x_axis is not None:
        raise UserError(
            f"the {part} samples of {dataset.name!r} are a {type(split).__name__}, or "
            "each task has its own: expected arrays in memory, one input for all tasks"
        )
    return split


def of_rows(split: ArraySplit, rows: np.ndarray) -> ArraySplit:
    """The samples of these numbers, in this order.

    Args:
      split: of :func:`in_memory`.
      rows: numbers of its samples.

    Example:
      >>> from mtopt.batch import Batch
      >>> every = Batch.shared(np.arange(6.), {"a": np.arange(6.)})
      >>> of_rows(ArraySplit(every, x_axis=None), np.array([4, 1])).samples.x.tolist()
      [4.0, 1.0]
    """
    held = split.samples
    samples = dataclasses.replace(
        held,
        x=jax.tree.map(lambda leaf: leaf[rows], held.x),
        y=jax.tree.map(lambda leaf: leaf[:, rows], held.y),
        mask=held.mask[:, rows],
    )
    return ArraySplit(samples, None)
