"""Rows with equal inputs: which they are, and how many stand on both sides of a split.

A model that has learned a row by heart knows its label again: rows with equal inputs
belong in one part.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from mtopt.data.division import SPLITS, TRAIN


def equal_rows(*blocks: np.ndarray | Sequence[bytes]) -> Int[np.ndarray, " N"]:
    """A number for each row, the same for rows that are equal in all blocks.

    Values are compared as they are stored; NaN equals NaN, and 0 equals -0.

    Args:
      blocks: arrays ``[N, ...]``, or N byte strings each.

    Returns:
      Numbers from 0, in no particular order.

    Example:
      >>> x, task = np.array([[1., 2.], [1., 2.], [1., 2.]]), np.array([0, 1, 0])
      >>> same = equal_rows(x, task)
      >>> bool(same[0] == same[2]), bool(same[0] == same[1])
      (True, False)
    """
    digests = [hashlib.blake2b(digest_size=16) for _ in range(len(blocks[0]))]
    for block in blocks:
        for digest, row in zip(digests, _comparable(block), strict=True):
            digest.update(row)
    found = np.array([digest.digest() for digest in digests], "V16")
    return np.unique(found, return_inverse=True)[1]


def on_both_sides(
    rows: Int[np.ndarray, " N"], split: Int[np.ndarray, " N"]
) -> dict[str, int]:
    """How many rows of each later part are equal to some that are trained on.

    Args:
      rows: of :func:`equal_rows`.
      split: the part of each row; others than those of ``SPLITS`` take no part.

    Example:
      >>> on_both_sides(np.array([0, 1, 1, 2, 0]), np.array([0, 0, 2, 2, 1]))
      {'valid': 1, 'test': 1}
    """
    trained = rows[split == TRAIN]
    return {
        title: int(np.isin(rows[split == part], trained).sum())
        for part, title in enumerate(SPLITS)
        if part != TRAIN
    }


def overlap_words(overlap: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    """What :func:`on_both_sides` found, for the lines that a run prints.

    Args:
      overlap: part to rows.
      sizes: part to all its rows.

    Example:
      >>> overlap_words({"valid": 0, "test": 12}, {"train": 90, "valid": 9, "test": 99})
      'inputs of 0 of 9 valid and 12 of 99 test rows stand in training too'
    """
    each = [f"{found} of {sizes[title]} {title}" for title, found in overlap.items()]
    return f"inputs of {' and '.join(each)} rows stand in training too"


def _comparable(block: np.ndarray | Sequence[bytes]) -> np.ndarray | Sequence[bytes]:
    """The rows so that equal ones are equal byte by byte."""
    if not isinstance(block, np.ndarray):
        return block
    if block.dtype.kind == "f":
        block = np.where(np.isnan(block), np.nan, block + 0).astype(block.dtype)
    return np.ascontiguousarray(block).reshape(len(block), -1)
