"""Training, validation and test part of a prepared set."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from mtopt.data.division import SPLITS, TRAIN
from mtopt.data.prepared.found import PreparedSet
from mtopt.data.prepared.samples import Part
from mtopt.errors import UserError

GIVEN = {"train": "train", "valid": "validation", "test": "test"}
"""Part to the split of tfds that it is, where a set has it."""


def parts_of(
    found: PreparedSet, shares: Mapping[str, float], seed: int
) -> dict[str, Part]:
    """The parts of a set by title; those it lacks are drawn from its training split.

    Args:
      found: the set.
      shares: of the training split, for ``valid`` and for ``test`` where it lacks them.
      seed: of the draw.

    Raises:
      UserError: for a set without a training split, or with too few records in it.
    """
    splits = found.splits
    if GIVEN["train"] not in splits:
        raise UserError(
            f"{found.name} has the splits {', '.join(splits) or '(none)'}: expected "
            "train among them"
        )
    lacking = [title for title in shares if GIVEN[title] not in splits]
    count = splits[GIVEN["train"]]
    if count <= len(lacking):
        raise UserError(
            f"{found.name} has {count} training records: expected more than "
            f"{len(lacking)}, to draw {' and '.join(lacking)} from them"
        )
    rows = drawn(count, [shares[title] for title in lacking], seed)
    parts = dict(zip((SPLITS[TRAIN], *lacking), rows, strict=True))
    return {
        title: Part(found, GIVEN["train"], parts[title])
        if title in parts
        else Part(found, GIVEN[title], np.arange(splits[GIVEN[title]]))
        for title in SPLITS
    }


def drawn(count: int, shares: list[float], seed: int) -> list[Int[np.ndarray, " n"]]:
    """Rows to train on, and those of each later part, one at least each.

    Args:
      count: of the rows, more than there are parts.
      shares: of each later part.
      seed: of the draw.

    Returns:
      Numbers of rows in ascending order, as they are read fastest.

    Example:
      >>> train, valid, test = drawn(10, [0.2, 0.1], seed=0)
      >>> len(train), len(valid), len(test)
      (7, 2, 1)
    """
    order = np.random.default_rng(seed).permutation(count)
    sizes = [max(round(share * count), 1) for share in shares]
    while sum(sizes) >= count:  # a few records and large shares
        sizes[int(np.argmax(sizes))] -= 1
    *later, train = np.split(order, np.cumsum(sizes))
    return [np.sort(train), *map(np.sort, later)]
