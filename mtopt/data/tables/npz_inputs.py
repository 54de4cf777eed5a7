"""The inputs of an ``.npz`` file, checked, as blocks of columns."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from mtopt.data.equal_rows import equal_rows
from mtopt.data.tables.npz_counts import Counts, read_counts
from mtopt.data.tables.npz_file import Arrays
from mtopt.data.tables.scaling import moments
from mtopt.errors import UserError

NUMBERS = ("x", "x_num", "desc")
INPUTS = (*NUMBERS, "x_cat", "fp")
MAX_FEATURES = 2000
IMAGES = ", or images (N, H, W) or (N, H, W, C)"
TYPES = {"fp": ("u", "uint8"), "x_cat": ("iu", "integer codes")}


class Inputs(NamedTuple):
    """Columns of a file, before anything is fitted to them.

    Attributes:
      numbers: array of the file to columns to standardise, ``[N, D]``, each in the
        precision that the file has it in.
      bits: columns of 0 and 1, float32 ``[N, E]``.
      counts: word counts, or None.
      columns: array of the file to how many of these columns it became.
      cardinality: the categories of each column of codes.
    """

    numbers: Mapping[str, np.ndarray]
    bits: np.ndarray
    counts: Counts | None
    columns: Mapping[str, int]
    cardinality: tuple[int, ...]

    def rows(self, task: np.ndarray | None) -> Int[np.ndarray, " N"]:
        """Numbers of the rows, the same where all inputs, and the task, are equal."""
        words = [] if self.counts is None else [self.counts.by_sample()]
        own = [] if task is None else [task]
        return equal_rows(*self.numbers.values(), self.bits.astype(bool), *words, *own)

    def description(
        self, train: np.ndarray, max_features: int = MAX_FEATURES
    ) -> dict[str, str]:
        """Array of the file to what is made of it, in words."""
        words = {}
        for key, count in self.columns.items():
            if key not in NUMBERS:
                how = {"x_cat": "one-hot", "fp": "bits, 0 or 1"}[key]
                words[key] = f"{count} columns, {how}"
                continue
            block = self.numbers[key]
            words[key] = f"{count} columns, standardised"
            if missing := int((~np.isfinite(block)).sum()):
                words[key] += f", {missing} missing values became the mean"
            if constant := int((moments(block[train])[1] == 0).sum()):
                words[key] += f", {constant} constant in training became 0"
        if self.counts is not None:
            size = self.counts.shape[1]
            words["counts"] = (
                f"log(1 + count) of {min(max_features, size)} of {size} words"
            )
        return words


def read_inputs(arrays: Arrays, path: pathlib.Path, size: int) -> Inputs:
    """Puts the inputs that a file has side by side; see :func:`mtopt.data.tables.npz`.

    Args:
      arrays: the arrays of the file.
      path: the file, for messages.
      size: how many samples there are.

    Returns:
      The columns.

    Raises:
      UserError: where there are none, or one has an unfit type, shape or code.
    """
    found = {key: arrays[key] for key in INPUTS if key in arrays}
    counts = read_counts(arrays, path, size)
    if not found and counts is None:
        raise UserError(
            f"{path} has {', '.join(sorted(arrays))}: expected inputs beside the "
            f"labels, any of {', '.join(INPUTS)}, or word counts"
        )
    for key, array in found.items():
        kinds, expected = TYPES.get(key, ("biuf", "numbers"))
        if array.dtype.kind not in kinds or (key == "fp" and array.itemsize > 1):
            raise UserError(
                f"{path}: {key} is of type {array.dtype}: expected {expected}"
            )
        if array.ndim != 2 or len(array) != size or array.shape[1] == 0:
            raise UserError(
                f"{path}: {key} has shape {array.shape}: expected ({size}, columns), a "
                f"row for each sample{IMAGES * (key == 'x')}"
            )
    numbers = {key: found[key] for key in NUMBERS if key in found}
    bits, cardinality = {}, ()
    if "x_cat" in found:
        sizes = arrays.get("cat_cardinality")
        bits["x_cat"], cardinality = _one_hot(found["x_cat"], sizes, path)
    if "fp" in found:
        bits["fp"] = np.unpackbits(found["fp"], axis=1).astype(np.float32)
    columns = {key: block.shape[1] for key, block in numbers.items()}
    columns |= {key: block.shape[1] for key, block in bits.items()}
    none = np.zeros((size, 0), np.float32)
    return Inputs(
        numbers,
        np.concatenate([none, *bits.values()], axis=1),
        counts,
        columns,
        cardinality,
    )


def _one_hot(
    codes: np.ndarray, cardinality: np.ndarray | None, path: pathlib.Path
) -> tuple[np.ndarray, tuple[int, ...]]:
    """One column per category of each column of codes, and how many these have."""
    codes = codes.astype(np.int64)
    least, largest = codes.min(initial=0), codes.max(axis=0, initial=0)
    sizes = largest + 1 if cardinality is None else cardinality
    if sizes.dtype.kind not in "iu":
        raise UserError(
            f"{path}: cat_cardinality is of type {sizes.dtype}: expected integers"
        )
    if sizes.shape != largest.shape or least < 0 or (largest >= sizes).any():
        raise UserError(
            f"{path}: x_cat has codes from {least} up to {largest.tolist()} by column: "
            f"expected 0 up to below cat_cardinality, {sizes.tolist()}"
        )
    first = np.cumsum(sizes) - sizes
    columns = np.zeros((len(codes), int(sizes.sum())), np.float32)
    np.put_along_axis(columns, codes + first, 1, axis=1)
    return columns, tuple(sizes.tolist())
