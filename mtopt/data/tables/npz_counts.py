"""Word counts of an ``.npz`` file: sparse rows in, columns of the commonest words out.

A file has them as compressed sparse rows: entries ``indptr[n]`` to ``indptr[n + 1]`` of
``indices`` and ``counts`` are the words of sample n and how often each stands there.
"""

import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mtopt.data.cells import summed_cells
from mtopt.data.tables.npz_file import Arrays
from mtopt.errors import UserError

SPARSE = ("indptr", "indices", "counts")
LENGTHS = "num_entries"


class Counts(NamedTuple):
    """How often a word stands in a sample, for the E pairs where it does.

    Attributes:
      samples: int ``[E]``.
      words: int ``[E]``.
      counts: float64 ``[E]``, above 0; no pair appears twice.
      shape: (samples N, words V).
    """

    samples: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    shape: tuple[int, int]

    def commonest(
        self, train: Bool[np.ndarray, " N"], max_features: int
    ) -> Int[np.ndarray, " F"]:
        """The words that stand in the most training samples, in their order.

        Args:
          train: True for training rows.
          max_features: the most words to keep.

        Example:
          >>> counts = Counts(np.array([0, 0, 1]), np.array([0, 2, 2]),
          ...                 np.array([1., 1., 3.]), (2, 3))
          >>> counts.commonest(np.array([True, True]), 2).tolist()
          [0, 2]
        """
        seen = np.bincount(self.words[train[self.samples]], minlength=self.shape[1])
        return np.sort(np.argsort(-seen, kind="stable")[:max_features])

    def columns(self, words: Int[np.ndarray, " F"]) -> Float[np.ndarray, "N F"]:
        """log(1 + count) of some words.

        Args:
          words: which ones.

        Returns:
          float16, half the memory of float32, for logarithms of which three digits
          matter.

        Example:
          >>> counts = Counts(np.array([0, 0, 1]), np.array([0, 2, 2]),
          ...                 np.array([1., 1., 3.]), (2, 3))
          >>> counts.columns(np.array([0, 2])).round(2).tolist()
          [[0.68994140625, 0.68994140625], [0.0, 1.3896484375]]
        """
        size, vocabulary = self.shape
        column = np.full(vocabulary, -1)
        column[words] = np.arange(len(words))
        inside = column[self.words] >= 0
        table = np.zeros((size, len(words)), np.float16)
        place = self.samples[inside], column[self.words[inside]]
        table[place] = np.log1p(self.counts[inside])
        return table

    def by_sample(self) -> list[bytes]:
        """The words and counts of every sample, the same bytes for equal samples."""
        cuts = np.searchsorted(self.samples, np.arange(1, self.shape[0]))
        words, counts = np.split(self.words, cuts), np.split(self.counts, cuts)
        return [w.tobytes() + c.tobytes() for w, c in zip(words, counts, strict=True)]


def entries_per_sample(
    arrays: Arrays, path: pathlib.Path, suffix: str = ""
) -> np.ndarray:
    """How many words each sample has: unlike ``indptr``, parts of it can be joined.

    Args:
      arrays: those of the file.
      path: the file, for messages.
      suffix: of the part, ``"_train"``; none where the file has no parts.

    Returns:
      int ``[N]``.

    Raises:
      UserError: for one of the three arrays without the others, or an ``indptr`` that
        does not fit them.
    """
    keys = [f"{key}{suffix}" for key in SPARSE]
    if missing := [key for key in keys if key not in arrays]:
        raise UserError(
            f"{path} has no {' and no '.join(missing)}: word counts are the three "
            f"arrays {', '.join(keys)}"
        )
    indptr, *entries = (arrays[key] for key in keys)
    if any(a.ndim != 1 or a.dtype.kind not in "iu" for a in (indptr, entries[0])):
        raise UserError(
            f"{path}: {keys[0]} is {indptr.dtype} {indptr.shape} and {keys[1]} "
            f"{entries[0].dtype} {entries[0].shape}: expected integers in a row"
        )
    lengths = np.diff(indptr.astype(np.int64))
    fits = len(indptr) > 0 and indptr[0] == 0 and (lengths >= 0).all()
    if not fits or any(a.shape != (indptr[-1],) for a in entries):
        raise UserError(
            f"{path}: {keys[0]} does not fit {keys[1]} {entries[0].shape} and "
            f"{keys[2]} {entries[1].shape}: expected it to rise from 0 to the "
            "length of either"
        )
    return lengths


def read_counts(arrays: Arrays, path: pathlib.Path, size: int) -> Counts | None:
    """The word counts of a file, None where it has none; see :func:`mtopt.data.npz`.

    Args:
      arrays: the arrays of the file, :class:`~mtopt.data.tables.npz_parts.Parts`.
      path: the file, for messages.
      size: how many samples there are.

    Raises:
      UserError: for one of the three arrays without the others, another number of
        samples, a word beyond the vocabulary, or counts that
        are negative or no numbers.
    """
    if LENGTHS not in arrays:
        return None
    lengths, words, counts = (arrays[key] for key in (LENGTHS, "indices", "counts"))
    if len(lengths) != size:
        raise UserError(
            f"{path}: indptr has {len(lengths) + 1} numbers: expected {size + 1}, one "
            "more than there are samples"
        )
    if counts.dtype.kind not in "biuf":
        raise UserError(f"{path}: counts is of type {counts.dtype}: expected numbers")
    words, counts = words.astype(np.int64), counts.astype(np.float64)
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise UserError(
            f"{path}: counts go from {counts.min()} to {counts.max()}: expected "
            "numbers of at least 0"
        )
    least, most = words.min(initial=0), words.max(initial=0)
    vocabulary = int(most) + 1
    if "vocab" in arrays:
        if arrays["vocab"].ndim != 1:
            raise UserError(
                f"{path}: vocab has shape {arrays['vocab'].shape}: expected (V,), a "
                "word for each number in indices"
            )
        vocabulary = len(arrays["vocab"])
    if least < 0 or most >= vocabulary:
        raise UserError(
            f"{path}: indices go from {least} to {most}: expected words from 0 to "
            f"below {vocabulary}, the length of vocab"
        )
    # A word that a sample has twice is counted once.
    samples, some = np.repeat(np.arange(size), lengths), counts > 0
    entries = summed_cells(samples[some], words[some], counts[some], vocabulary)
    return Counts(*entries, (size, vocabulary))
