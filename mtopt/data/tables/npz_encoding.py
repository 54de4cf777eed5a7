"""Arrays as inputs of a model, by what the training rows of a file were."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mtopt.data.tables.npz_counts import LENGTHS, SPARSE, entries_per_sample
from mtopt.data.tables.npz_file import Archive
from mtopt.data.tables.npz_inputs import (
    INPUTS,
    MAX_FEATURES,
    NUMBERS,
    Inputs,
    read_inputs,
)
from mtopt.data.tables.npz_known import read_known
from mtopt.data.tables.scaling import Scaling, moments
from mtopt.errors import UserError

NEW = pathlib.Path("the new samples")
"""What they are called in messages, in place of a file."""


@dataclasses.dataclass(frozen=True)
class NpzEncoding:
    """Arrays side by side, as :func:`mtopt.data.npz` makes them of those of a file.

    Args:
      mean: array of numbers to the mean of each of its columns in the training rows.
      std: likewise the standard deviation, 0 for a constant column.
      cardinality: the categories of each column of ``x_cat``; none without it.
      packed: the columns of ``fp``.
      words: the words that are kept of the counts.
      vocabulary: how many there are in all; 0 without counts.
      tasks: the names of all tasks of the file, by their numbers there.
      own_rows: whether every sample is of one task.

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
    tasks: tuple[str, ...] = ()
    own_rows: bool = False

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
        raw = _arrays(raw)
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

    def tasks_of(self, raw: Any) -> dict[str, Int[np.ndarray, " n"]]:
        """Task to the numbers of its samples, by the array ``task``.

        Args:
          raw: as for the call, with that array.

        Raises:
          UserError: where there is none, or it has other numbers than training had.
        """
        arrays = _arrays(raw)
        if "task" not in arrays:
            raise UserError(
                f"{NEW} have no array task: expected the number of each one's task, "
                f"0 to {len(self.tasks) - 1}, or a dict of inputs by task"
            )
        task = np.asarray(arrays["task"])
        whole = task.dtype.kind in "iu" and task.ndim == 1
        if not whole or not ((task >= 0) & (task < len(self.tasks))).all():
            raise UserError(
                f"{NEW}: task is {task.dtype}{list(task.shape)}: expected whole "
                f"numbers from 0 to {len(self.tasks) - 1}, one a sample"
            )
        rows = {t: np.flatnonzero(task == i) for i, t in enumerate(self.tasks)}
        return {name: own for name, own in rows.items() if len(own)}

    def targets_of(self, raw: Any) -> dict[str, np.ndarray]:
        """The labels of each task in arrays that have ``y``, NaN where one is missing.

        Args:
          raw: as for the call, or of :meth:`tasks_of`.

        Raises:
          UserError: where there are no labels, or they have another shape.
        """
        arrays = _arrays(raw)
        count = 0 if self.own_rows else len(self.tasks)
        y = np.asarray(arrays["y"]) if "y" in arrays else np.zeros(0)
        if y.shape[1:] != ((count,) if count else ()) or not len(y):
            raise UserError(
                f"{NEW} have labels y {list(y.shape)}: expected [N"
                f"{f', {count}' * bool(count)}], as in training"
            )
        known, _ = read_known({**arrays, "y": y}, NEW, None)
        y = np.where(known, y, np.nan)
        if self.own_rows:
            return {task: y[rows] for task, rows in self.tasks_of(raw).items()}
        return dict(zip(self.tasks, y.T, strict=True))

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


def _arrays(raw: Any) -> Mapping[str, Any]:
    """Arrays by key, those of a file among them."""
    if isinstance(raw, str | pathlib.Path):
        return Archive(pathlib.Path(raw).expanduser())
    return raw if isinstance(raw, Mapping) else {}
