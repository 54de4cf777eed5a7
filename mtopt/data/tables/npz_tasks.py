"""What new samples in arrays say of their tasks, as an ``.npz`` file does."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from mtopt.data.tables.npz_file import Archive
from mtopt.data.tables.npz_known import read_known
from mtopt.data.tables.npz_labels import OWN_NAMES, SHARED_NAMES, names_by_number
from mtopt.errors import UserError, nearest

NEW = pathlib.Path("the new samples")
"""What they are called in messages, in place of a file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TasksOfFile:
    """The tasks of an ``.npz`` file, for encodings of its inputs.

    Args:
      tasks: the names of all tasks of the file, by their numbers there.
      own_rows: whether every sample is of one task.

    Example:
      >>> of = TasksOfFile(tasks=("b", "a"), own_rows=True)
      >>> rows = of.tasks_of({"task": np.array([1, 0, 1])})
      >>> {task: own.tolist() for task, own in rows.items()}
      {'b': [1], 'a': [0, 2]}
    """

    tasks: tuple[str, ...] = ()
    own_rows: bool = False

    def tasks_of(self, raw: Any) -> dict[str, Int[np.ndarray, " n"]]:
        """Task to the numbers of its samples, by the array ``task``.

        Args:
          raw: as for the call, with that array.

        Raises:
          UserError: where there is none, or it has other numbers than training had.
        """
        arrays = arrays_of(raw)
        if "task" not in arrays:
            raise UserError(
                f"{NEW} have no array task: expected the number of each one's task, "
                f"0 to {len(self.tasks) - 1}, or a dict of inputs by task"
            )
        names = self._names(arrays)
        task = np.asarray(arrays["task"])
        whole = task.dtype.kind in "iu" and task.ndim == 1
        if not whole or not ((task >= 0) & (task < len(names))).all():
            raise UserError(
                f"{NEW}: task is {task.dtype}{list(task.shape)}: expected whole "
                f"numbers from 0 to {len(names) - 1}, one a sample"
            )
        rows = {t: np.flatnonzero(task == i) for i, t in enumerate(names)}
        return {name: own for name, own in rows.items() if len(own)}

    def targets_of(self, raw: Any) -> dict[str, np.ndarray]:
        """The labels of each task in arrays that have ``y``, NaN where one is missing.

        Args:
          raw: as for the call, or of :meth:`tasks_of`.

        Raises:
          UserError: where there are no labels, or they have another shape.
        """
        arrays = arrays_of(raw)
        names = self._names(arrays) if "y" in arrays else self.tasks
        count = 0 if self.own_rows else len(names)
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
        return dict(zip(names, y.T, strict=True))

    def _names(self, arrays: Mapping[str, Any]) -> tuple[str, ...]:
        """The tasks by their numbers in new arrays: as these name them, or as training.

        Raises:
          UserError: for a name that training had not.
        """
        if not any(
            key in arrays for key in (OWN_NAMES if self.own_rows else SHARED_NAMES)
        ):
            return self.tasks
        names = names_by_number(arrays, NEW)
        if unknown := [name for name in names if name not in self.tasks]:
            raise UserError(
                f"{NEW} name the task {unknown[0]!r}: {nearest(unknown[0], self.tasks)}"
            )
        return names


def arrays_of(raw: Any) -> Mapping[str, Any]:
    """Arrays by key, those of a file among them; none of anything else.

    Args:
      raw: a dict of arrays, or the place of an ``.npz`` file.
    """
    if isinstance(raw, str | pathlib.Path):
        return Archive(pathlib.Path(raw).expanduser())
    return raw if isinstance(raw, Mapping) else {}
