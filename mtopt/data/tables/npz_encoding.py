"""Arrays as inputs of a model, by what the training rows of a file were."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from mtopt.data.tables.npz_counts import LENGTHS, SPARSE, entries_per_sample
from mtopt.data.tables.npz_inputs import (
    INPUTS,
    MAX_FEATURES,
    NUMBERS,
    Inputs,
    read_inputs,
)
from mtopt.data.tables.npz_tasks import NEW, TasksOfFile, arrays_of
from mtopt.data.tables.scaling import Scaling, moments
from mtopt.errors import UserError


@dataclasses.dataclass(frozen=True)
class NpzEncoding(TasksOfFile):
    """Arrays side by side, as :func:`mtopt.data.npz` makes them of those of a file.

    Args:
      mean: array of numbers to the mean of each of its columns in the training rows.
      std: likewise the standard deviation, 0 for a constant column.
      cardinality: the categories of each column of ``x_cat``; none without it.
      packed: the columns of ``fp``.
      words: the words that are kept of the counts.
      vocabulary: how many there are in all; 0 without counts.
      tasks: as of :class:`~mtopt.data.tables.npz_tasks.TasksOfFile`.
      own_rows: likewise.

    Example:
      >>> encode = NpzEncoding({"x": (1.0, 0.0)}, {"x": (2.0, 0.0)})
      >>> encode(np.array([[5.0, 3.0]])).tolist()
      [[2.0, 0.0]]
    """

    mean: Mapping[str, tuple[float, ...]]
    std: Mapping[str, tuple[float, ...]]
    cardinality: tuple[int, ...] = ()
    packed: int = 0
    words: tuple[int, ...] = ()
    vocabulary: int = 0

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        train: Bool[np.ndarray, " N"],
        max_features: int = MAX_FEATURES,
    ) -> "NpzEncoding":
        """That of the training rows.

        Args:
          inputs: of a file.
          train: True for its training rows.
          max_features: the most words to keep of the counts.
        """
        found = {key: moments(block[train]) for key, block in inputs.numbers.items()}
        words, vocabulary = (), 0
        if inputs.counts is not None:
            words = tuple(inputs.counts.commonest(train, max_features).tolist())
            vocabulary = inputs.counts.shape[1]
        return cls(
            {key: tuple(mean.tolist()) for key, (mean, _) in found.items()},
            {key: tuple(std.tolist()) for key, (_, std) in found.items()},
            inputs.cardinality,
            inputs.columns.get("fp", 0) // 8,
            words,
            vocabulary,
        )

    def __call__(self, raw: Any) -> np.ndarray:
        """The inputs of new samples.

        Args:
          raw: arrays by key, or an ``.npz`` file of them, with the inputs that the
            training file had; one array, where that had one array of numbers alone.

        Raises:
          UserError: for other arrays or shapes than in training.
        """
        first, *others = keys = self._keys()
        if not isinstance(raw, Mapping | str | pathlib.Path):
            if others or first not in NUMBERS:
                raise UserError(
                    f"{NEW} are a {type(raw).__name__}: expected a dict of the arrays "
                    f"{', '.join(keys)}"
                )
            raw = {first: raw}
        raw = arrays_of(raw)
        if missing := [key for key in keys if key not in raw]:
            raise UserError(
                f"{NEW} have {', '.join(map(str, raw)) or 'no array'}: expected "
                f"{', '.join(missing)} too, as in training"
            )
        arrays: dict[str, Any] = {key: np.asarray(raw[key]) for key in keys}
        if self.cardinality:
            arrays["cat_cardinality"] = np.array(self.cardinality)
        if self.vocabulary:
            arrays["vocab"] = np.arange(self.vocabulary)
            arrays[LENGTHS] = entries_per_sample(arrays, NEW)
        rows = arrays[LENGTHS if first == "indptr" else first]
        inputs = read_inputs(arrays, NEW, len(np.atleast_1d(rows)))
        for key, mean in self.mean.items():
            self._expect_columns(key, inputs.columns[key], len(mean))
        if self.packed:
            self._expect_columns("fp", inputs.columns["fp"] // 8, self.packed)
        return self.encoded(inputs)

    def encoded(self, inputs: Inputs) -> np.ndarray:
        """The inputs of columns that have been read.

        Returns:
          float32 ``[N, D]``; float16 where there are counts alone.
        """
        blocks = [
            Scaling(np.array(self.mean[key]), np.array(self.std[key]))(block)
            for key, block in inputs.numbers.items()
        ]
        blocks.append(inputs.bits)
        if inputs.counts is not None:
            blocks.append(inputs.counts.columns(np.array(self.words)))
        return np.concatenate([b for b in blocks if b.shape[1]], axis=1)

    def _keys(self) -> tuple[str, ...]:
        """The arrays of inputs."""
        blocks = {"x_cat": self.cardinality, "fp": self.packed}
        found = [key for key in INPUTS if key in self.mean or blocks.get(key)]
        return tuple(found + list(SPARSE if self.vocabulary else ()))

    def _expect_columns(self, key: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise UserError(
                f"{NEW}: {key} has {found} columns: expected {wanted}, as in training"
            )
