"""The parts of an ``.npz`` file, ``x_train`` and ``x_test``, one after the other."""

from collections.abc import Iterator

import numpy as np
from typing_extensions import override

from mtopt.data.division import SPLITS, TRAIN
from mtopt.data.tables.npz_counts import LENGTHS, SPARSE, entries_per_sample
from mtopt.data.tables.npz_file import Archive, Arrays
from mtopt.data.tables.npz_inputs import INPUTS
from mtopt.errors import UserError

LABELS = ("y", "task", "w", "mask")
STORED = {key: (key,) for key in (*INPUTS, *SPARSE[1:], *LABELS)} | {LENGTHS: SPARSE}
"""What has a row or entries for each sample, and the arrays that it is read from."""


class Parts(Arrays):
    """The arrays of a file by key, those of its parts joined, read when asked for.

    Entries per sample, ``num_entries``, stand in place of ``indptr``, which could not
    be joined.

    Args:
      archive: the file.

    Raises:
      UserError: for labels both whole and in parts, parts without one to train on, or,
        when it is asked for, an array that other parts have than the labels.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "parts.npz"
      >>> np.savez(path, y_train=np.zeros((2, 1)), y_test=np.ones((1, 1)))
      >>> parts = Parts(Archive(path))
      >>> parts["y"].tolist(), parts.split().tolist()
      ([[0.0], [0.0], [1.0]], [0, 0, 2])
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._titles = [title for title in SPLITS if f"y_{title}" in archive]
        if self._titles and ("y_train" not in archive or "y" in archive):
            raise UserError(
                f"{archive}: expected either y, or y_train with y_valid and y_test "
                "beside it"
            )
        if not self._titles and "y" not in archive:
            raise UserError(
                f"{archive}: expected labels y (or y_train, y_valid, y_test) and "
                "inputs x; see mtopt.data.npz"
            )
        self._suffixes = [f"_{title}" for title in self._titles] or [""]

    @override
    def __contains__(self, key: object) -> bool:
        return key in set(self)

    @override
    def __iter__(self) -> Iterator[str]:
        yield from (key for key in STORED if self._found(key))
        yield from (key for key in self._archive if key not in (*STORED, "indptr"))

    @override
    def __len__(self) -> int:
        return len(list(iter(self)))

    @override
    def __getitem__(self, key: str) -> np.ndarray:
        if key not in STORED:
            return self._archive[key]
        found = self._found(key)
        if not found:
            raise KeyError(key)
        if found != self._suffixes:
            raise UserError(
                f"{self._archive.path} has {STORED[key][0]} for {self._listed(found)} "
                f"and y for {', '.join(self._titles)}: expected the same splits of "
                "every array"
            )
        pieces = [self._piece(key, suffix) for suffix in found]
        if len(pieces) == 1:
            return pieces[0]
        if any(p.ndim == 0 or p.shape[1:] != pieces[0].shape[1:] for p in pieces):
            raise UserError(
                f"{self._archive.path}: {key} has shapes {[p.shape for p in pieces]} "
                f"in {', '.join(self._titles)}: expected samples of equal shape"
            )
        kinds = {"n" if p.dtype.kind in "biuf" else p.dtype.kind for p in pieces}
        if len(kinds) > 1:
            raise UserError(
                f"{self._archive.path}: {key} is of types "
                f"{', '.join(str(p.dtype) for p in pieces)} in "
                f"{', '.join(self._titles)}: expected the same in all"
            )
        return np.concatenate(pieces)

    def split(self) -> np.ndarray:
        """The part of every sample, ``[N]``; ``TRAIN`` where the file has no parts.

        Raises:
          UserError: for an array ``split`` of another shape, or of other words.
        """
        sizes = [len(np.atleast_1d(self._piece("y", s))) for s in self._suffixes]
        if self._titles:
            return np.repeat([SPLITS.index(title) for title in self._titles], sizes)
        if "split" not in self._archive:
            return np.full(sizes[0], TRAIN)
        given = self._archive["split"]
        unknown = sorted(set(np.unique(given).tolist()) - set(SPLITS), key=str)
        if unknown or given.shape != (sizes[0],):
            raise UserError(
                f"{self._archive.path}: split has shape {given.shape} and values "
                f"{unknown[:5] or SPLITS}: expected ({sizes[0]},) of "
                f"{', '.join(map(repr, SPLITS))}"
            )
        return np.array([SPLITS.index(title) for title in given.tolist()])

    def _found(self, key: str) -> list[str]:
        """The parts that have it."""
        return [
            suffix
            for suffix in self._suffixes
            if any(f"{stored}{suffix}" in self._archive for stored in STORED[key])
        ]

    def _piece(self, key: str, suffix: str) -> np.ndarray:
        if key == LENGTHS:
            return entries_per_sample(self._archive, self._archive.path, suffix)
        return self._archive[f"{key}{suffix}"]

    def _listed(self, suffixes: list[str]) -> str:
        return ", ".join(suffix.removeprefix("_") for suffix in suffixes)
