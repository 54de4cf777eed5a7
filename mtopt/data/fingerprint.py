"""What tells one data set from another: a hash of its arrays."""

import hashlib

import jax
import numpy as np

from mtopt.batch import Batch
from mtopt.data.augment.augmented import AugmentedSplit
from mtopt.data.dataset import ArraySplit, Dataset, Split
from mtopt.data.division import SPLITS
from mtopt.data.sources import JointDataset
from mtopt.data.stream import StreamSplit

SAMPLES_OF_A_STREAM = 256
BYTES_OF_A_STREAM = 64 * 2**20
"""Enough for as many samples of a few hundred kilobytes; of larger ones, fewer."""


def fingerprint(dataset: Dataset | JointDataset) -> str:
    """16 hex digits of a data set: its tasks, and the arrays that a model is fitted to.

    Two data sets have one fingerprint if task names, kind, and the shapes, types and
    numbers of all arrays agree, after scaling and division into parts; a renamed task
    or one changed label gives another. Of a split that is read from a source as it is
    needed, 256 samples evenly spaced stand for the rest, fewer of large ones.

    Args:
      dataset: the data set; its name and where it came from do not matter. That of a
        joint one is of those of its groups, and of whether they share their inputs.

    Returns:
      The digits.

    Example:
      >>> from mtopt.data import multi_digits
      >>> counts = {"num_train": 8, "num_valid": 4, "num_test": 4}
      >>> one, same, other = (multi_digits(seed=s, **counts) for s in (0, 0, 1))
      >>> fingerprint(one) == fingerprint(same), fingerprint(one) == fingerprint(other)
      (True, False)
    """
    if isinstance(dataset, JointDataset):
        of_groups = [fingerprint(group) for group in dataset.groups]
        return fingerprint_of((), repr((of_groups, dataset.shared_inputs)))
    named = (dataset.tasks, dataset.kind, dataset.outputs, dataset.x_axis)
    content = {title: _content(getattr(dataset, title)) for title in SPLITS}
    sizes = tuple(getattr(dataset, title).size for title in SPLITS)
    scale = (dataset.target_mean, dataset.target_std)
    changes = [
        repr(split.augmentation)
        for split in (dataset.train, dataset.valid, dataset.test)
        if isinstance(split, AugmentedSplit)
    ]
    return fingerprint_of((content, scale), repr((named, sizes)), *changes)


def fingerprint_of(arrays: object, *words: str) -> str:
    """16 hex digits of any tree of arrays: where each stands, its shape, type, bytes.

    Args:
      arrays: the tree.
      words: what else it depends on.

    Returns:
      The digits.

    Example:
      >>> fingerprint_of({"a": np.zeros(2)}) == fingerprint_of({"b": np.zeros(2)})
      False
    """
    digest = hashlib.sha256(repr(words).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        array = np.asarray(leaf)
        where = (jax.tree_util.keystr(path), array.shape, array.dtype.str)
        digest.update(repr(where).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _content(split: Split) -> Batch:
    """All samples of a split, or some that stand for them."""
    if isinstance(split, AugmentedSplit):
        return _content(split.split)
    if isinstance(split, ArraySplit):
        return split.samples
    if isinstance(split, StreamSplit):
        one = sum(leaf.nbytes for leaf in jax.tree.leaves(split.spaced(1)))
        many = max(1, BYTES_OF_A_STREAM // max(one, 1))
        return split.spaced(min(SAMPLES_OF_A_STREAM, many))
    return next(split.in_order(SAMPLES_OF_A_STREAM))
