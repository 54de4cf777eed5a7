"""The labels of an ``.npz`` file, for shared or disjoint inputs."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Literal

import numpy as np

from mtopt.batch import Batch
from mtopt.data.tables.scaling import moments
from mtopt.errors import UserError

MISSING_BYTE = 255
NpzKind = Literal["classification", "binary", "regression"]
KINDS = ("classification", "binary", "regression")
SHARED_NAMES = ("target_names", "task_names")
OWN_NAMES = ("task_names", "task_ids")


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of a file, whichever way it has them.

    Args:
      y: ``[N, K]`` for shared inputs, ``[N]`` for disjoint ones; 0 where missing.
      known: True where a label is not missing, in the shape of ``y``.
      task: the task of each sample, ``[N]``, or None for shared inputs.
      names: the K names, sorted.
      kind: what the labels are.
      outputs: the size of a head's output.
    """

    y: np.ndarray
    known: np.ndarray
    task: np.ndarray | None
    names: tuple[str, ...]
    kind: NpzKind
    outputs: int

    @property
    def usable(self) -> np.ndarray:
        """False for disjoint samples without a label, which belong nowhere."""
        return np.ones(len(self.y), bool) if self.task is None else self.known

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """The labels of each task among the rows, ``[K]``."""
        if self.task is None:
            return self.known[rows].sum(axis=0)
        chosen = self.task[rows & self.known]
        return np.bincount(chosen, minlength=len(self.names))

    def keep(self, tasks: np.ndarray) -> "Labels":
        """The labels of some tasks, ``[K]`` bool; samples of others become unusable."""
        names = tuple(n for n, kept in zip(self.names, tasks, strict=True) if kept)
        if self.task is None:
            y, known = self.y[:, tasks], self.known[:, tasks]
            return dataclasses.replace(self, y=y, known=known, names=names)
        known = self.known & tasks[self.task]
        task = (np.cumsum(tasks) - 1)[self.task]
        return dataclasses.replace(self, known=known, task=task, names=names)

    def scaled(
        self, train: np.ndarray
    ) -> tuple["Labels", np.ndarray | None, np.ndarray | None]:
        """Regression targets without their training mean and standard deviation.

        Returns:
          The labels, mean ``[K]`` and standard deviation ``[K]``; None for both where
          labels are classes.
        """
        if self.kind != "regression":
            return self, None, None
        known = self.known[train]
        seen = np.where(known, self.y[train], np.nan).reshape(len(known), -1)
        mean, std = moments(seen)
        std = np.where(std > 0, std, 1)
        y = np.where(self.known, (self.y - mean) / std, 0).astype(np.float32)
        num_tasks = len(self.names)
        full = [np.broadcast_to(v, num_tasks).astype(np.float32) for v in (mean, std)]
        return dataclasses.replace(self, y=y), full[0], full[1]

    def batch(self, x: np.ndarray, rows: np.ndarray) -> Batch:
        """The samples of some rows, ``[N]`` bool, as one batch."""
        if self.task is None:
            y, known = (np.ascontiguousarray(a[rows].T) for a in (self.y, self.known))
            return Batch(x[rows], y, known)
        own = [rows & self.known & (self.task == k) for k in range(len(self.names))]
        return Batch.disjoint(
            {n: (x[r], self.y[r]) for n, r in zip(self.names, own, strict=True)}
        )


def read_labels(
    arrays: Mapping[str, np.ndarray], path: pathlib.Path, kind: NpzKind | None
) -> Labels:
    """Reads the labels, either way; see :func:`mtopt.data.tables.npz`.

    Args:
      arrays: the arrays of the file.
      path: the file, for messages.
      kind: what the labels are; None infers it.

    Returns:
      The labels, tasks in the order of their names.

    Raises:
      UserError: for unfit shapes, types, values or names.
    """
    y = arrays["y"]
    if y.dtype.kind not in "biuf":
        raise UserError(f"{path}: y is of type {y.dtype}: expected numbers")
    task = arrays.get("task")
    if y.ndim != (2 if task is None else 1) or 0 in y.shape:
        raise UserError(
            f"{path}: y has shape {y.shape} {'without' if task is None else 'with'} a "
            "task array: expected (N, K) for K tasks on shared inputs, or (N,) and "
            "task (N,) for tasks with samples of their own"
        )
    known = np.isfinite(y) if y.dtype.kind == "f" else np.ones(y.shape, bool)
    if y.dtype == np.uint8:
        known = y != MISSING_BYTE
    if not known.any():
        raise UserError(f"{path}: every label of y is missing: expected some")
    values = y[known]
    kind = kind or _infer_kind(values)
    _check_range(values, kind, path)
    outputs = int(values.max()) + 1 if kind == "classification" else 1
    dtype = np.float64 if kind == "regression" else np.int32
    y = np.where(known, y, 0).astype(dtype)
    if task is None:
        names, order = _names(arrays, SHARED_NAMES, path, y.shape[1])
        return Labels(y[:, order], known[:, order], None, names, kind, outputs)
    task = _check_task(task, len(y), arrays, path)
    names, order = _names(arrays, OWN_NAMES, path, _num_tasks(arrays, task))
    return Labels(y, known, np.argsort(order)[task], names, kind, outputs)


def _infer_kind(values: np.ndarray) -> NpzKind:
    if np.isin(values, (0, 1)).all():
        return "binary"
    return "regression" if values.dtype.kind == "f" else "classification"


def _check_range(values: np.ndarray, kind: NpzKind, path: pathlib.Path) -> None:
    if kind == "regression":
        return
    if kind == "binary":
        fits, expected = np.isin(values, (0, 1)), "0 or 1"
    else:
        fits = (values == np.floor(values)) & (values >= 0) & (values < 2**31)
        expected = "classes 0, 1, 2 ..."
    if not fits.all():
        raise UserError(
            f"{path}: y has the value {values[~fits][0]}: {kind} takes {expected}"
        )


def _check_task(
    task: np.ndarray, size: int, arrays: Mapping[str, np.ndarray], path: pathlib.Path
) -> np.ndarray:
    if task.shape != (size,) or task.dtype.kind not in "iu":
        raise UserError(
            f"{path}: task is {task.dtype} {task.shape}: expected integers ({size},), "
            "one per label"
        )
    task = task.astype(np.int64)
    num_tasks = _num_tasks(arrays, task)
    if task.min() < 0 or task.max() >= num_tasks:
        raise UserError(
            f"{path}: task goes from {task.min()} to {task.max()}: expected 0 to "
            f"{num_tasks - 1} for {num_tasks} tasks"
        )
    return task


def _num_tasks(arrays: Mapping[str, np.ndarray], task: np.ndarray) -> int:
    for key in OWN_NAMES:
        if key in arrays:
            return len(np.atleast_1d(arrays[key]))
    return int(task.max()) + 1


def _names(
    arrays: Mapping[str, np.ndarray],
    keys: tuple[str, ...],
    path: pathlib.Path,
    num_tasks: int,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Sorted names, and which of the file's tasks each is."""
    key = next((key for key in keys if key in arrays), None)
    given = np.arange(num_tasks) if key is None else arrays[key]
    if given.shape != (num_tasks,):
        raise UserError(
            f"{path}: {key} has shape {given.shape}: expected ({num_tasks},), a "
            "name for each task"
        )
    if given.dtype.kind in "iu":
        width = len(str(given.max()))
        names = [f"task_{int(number):0{width}}" for number in given]
    else:
        names = [str(n, "utf-8") if isinstance(n, bytes) else str(n) for n in given]
    if "" in names or len(set(names)) < num_tasks:
        wrong = next(n for n in names if not n or names.count(n) > 1)
        raise UserError(
            f"{path}: {key} has {wrong!r} {names.count(wrong)} times: expected "
            "distinct names that are not empty"
        )
    order = np.argsort(names)
    return tuple(sorted(names)), order
