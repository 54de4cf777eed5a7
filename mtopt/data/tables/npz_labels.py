"""The labels of an ``.npz`` file, for shared or disjoint inputs."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.tables.npz_file import Arrays
from mtopt.data.tables.npz_kinds import (
    CLASSES_OF,
    GivenKind,
    NpzKind,
    check_range,
    kinds_of,
)
from mtopt.data.tables.npz_known import read_known, read_weights
from mtopt.data.tables.scaling import target_moments
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError
from mtopt.kind import own_kind

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
      kinds: what the labels of each task are, ``[K]``.
      missing: how many labels are missing, by reason.
      weight: what each label weighs, in the shape of ``y``; None: all the same.
    """

    y: np.ndarray
    known: np.ndarray
    task: np.ndarray | None
    names: tuple[str, ...]
    kinds: tuple[NpzKind, ...]
    missing: Mapping[str, int]
    weight: np.ndarray | None = None

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
        kinds = tuple(k for k, kept in zip(self.kinds, tasks, strict=True) if kept)
        of_tasks = dataclasses.replace(self, names=names, kinds=kinds)
        if self.task is None:
            y, known = self.y[:, tasks], self.known[:, tasks]
            weight = None if self.weight is None else self.weight[:, tasks]
            return dataclasses.replace(of_tasks, y=y, known=known, weight=weight)
        known = self.known & tasks[self.task]
        task = (np.cumsum(tasks) - 1)[self.task]
        return dataclasses.replace(of_tasks, known=known, task=task)

    @property
    def by_kind(self) -> tuple["Labels", ...]:
        """The tasks of each kind apart, by the first of each."""
        kinds = np.array(self.kinds)
        return tuple(self.keep(kinds == kind) for kind in dict.fromkeys(self.kinds))

    @property
    def outputs(self) -> int:
        """The size of a head's output, of tasks of one kind."""
        own = own_kind(self.kinds[0])
        if self.kinds[0] not in CLASSES_OF if own is None else not own.integers:
            return 1
        return int(self.y[self.known].max()) + 1

    def scaled(
        self, train: np.ndarray, common_units: bool = False
    ) -> tuple["Labels", np.ndarray | None, np.ndarray | None]:
        """Regression targets without their training mean and standard deviation.

        Labels of other kinds become integers. All tasks are of one kind; see
        :attr:`by_kind`.

        Args:
          train: True for training rows, ``[N]``.
          common_units: as of :func:`mtopt.data.tables.scaling.target_moments`.

        Returns:
          The labels, mean ``[K]`` and standard deviation ``[K]``; None for both where
          labels are classes.
        """
        own = own_kind(self.kinds[0])
        if own is not None and not own.integers:
            y = np.where(self.known, self.y, 0).astype(np.float32)
            return dataclasses.replace(self, y=y), None, None
        if self.kinds[0] != "regression":
            # Numbers of other tasks may stand behind a mask.
            y = np.where(self.known, self.y, 0).astype(np.int32)
            return dataclasses.replace(self, y=y), None, None
        seen = [self.y[self.rows(k, train)] for k in range(len(self.names))]
        if self.task is None:
            seen = [y[:, k] for k, y in enumerate(seen)]
        mean, std = target_moments(seen, common_units)
        own = slice(None) if self.task is None else self.task
        y = np.where(self.known, (self.y - mean[own]) / std[own], 0)
        return dataclasses.replace(self, y=y.astype(np.float32)), mean, std

    def rows(self, k: int, rows: np.ndarray) -> np.ndarray:
        """Those among some rows, ``[N]`` bool, that have a label of task k."""
        if self.task is None:
            return rows & self.known[:, k]
        return rows & self.known & (self.task == k)

    def of_rows(self, weight: np.ndarray) -> "Labels":
        """The labels with what their rows weigh, ``[N]``; those of 0 are missing.

        Where each row has several labels on an axis of its own, they stand one column
        after the other.
        """
        if self.task is None:
            weight = np.broadcast_to(weight[:, None], self.y.shape)
        else:
            weight = np.tile(weight, len(self.y) // len(weight))
        missing = dict(self.missing)
        if hit := int((self.known & (weight == 0)).sum()):
            missing["weight 0"] = hit
        known = self.known & (weight > 0)
        return dataclasses.replace(self, known=known, weight=weight, missing=missing)

    def weighing(self, train: np.ndarray) -> "Labels":
        """Without weights where those of every task are equal in training."""
        if self.weight is None:
            return self
        own = [self.rows(k, train) for k in range(len(self.names))]
        columns = [
            self.weight[rows] if self.task is not None else self.weight[rows, k]
            for k, rows in enumerate(own)
        ]
        # A mean is the same for weights of 1 as for any that are equal.
        equal = all(len(np.unique(column)) <= 1 for column in columns)
        return dataclasses.replace(self, weight=None) if equal else self

    def batch(self, x: np.ndarray, rows: np.ndarray, weighted: bool = False) -> Batch:
        """The samples of some rows, ``[N]`` bool, as one batch.

        Args:
          x: all inputs.
          rows: which of them.
          weighted: whether its mask has the weights of labels, if these have some.
        """
        mask = self.known
        if weighted and self.weight is not None:
            mask = np.where(self.known, self.weight, 0).astype(np.float32)
        if self.task is None:
            y, mask = (np.ascontiguousarray(a[rows].T) for a in (self.y, mask))
            return Batch(x[rows], y, mask)
        own = {n: self.rows(k, rows) for k, n in enumerate(self.names)}
        return Batch.disjoint(
            {n: (x[r], self.y[r]) for n, r in own.items()},
            {n: mask[r] for n, r in own.items()},
        )


def read_labels(
    arrays: Arrays,
    path: pathlib.Path,
    kind: GivenKind | None,
    missing: float | int | None = None,
    tasks: Sequence[str] | None = None,
) -> Labels:
    """Reads the labels, either way; see :func:`mtopt.data.tables.npz`.

    Args:
      arrays: the arrays of the file.
      path: the file, for messages.
      kind: what the labels are; None infers it.
      missing: the value of a missing label; None where no value means that.
      tasks: those whose labels are looked at; all unless given.

    Returns:
      The labels of all tasks, in the order of their names, with whatever stands there
      in those that were not asked for.

    Raises:
      UserError: for unfit shapes, types, values or names, or labels that may be of
        several kinds.
    """
    y = arrays["y"]
    if y.dtype.kind in "USO":
        raise UserError(
            f"{path}: y is of type {y.dtype}: expected numbers; numpy.unique(column, "
            "return_inverse=True)[1] makes names into classes"
        )
    if y.dtype.kind not in "biuf":
        raise UserError(f"{path}: y is of type {y.dtype}: expected numbers")
    task = arrays.get("task")
    if y.ndim != (2 if task is None else 1) or 0 in y.shape:
        raise UserError(
            f"{path}: y has shape {y.shape} {'without' if task is None else 'with'} a "
            "task array: expected (N, K) for K tasks on shared inputs, or (N,) and "
            "task (N,) for tasks with samples of their own"
        )
    if task is None:
        names, order = _names(arrays, SHARED_NAMES, path, y.shape[1])
    else:
        task = _check_task(task, len(y), arrays, path)
        names, order = _names(arrays, OWN_NAMES, path, _num_tasks(arrays, task))
        task = np.argsort(order)[task]
    known, reasons = read_known(arrays, path, missing)
    weight = read_weights(arrays, y.shape, path)
    if task is None:
        y, known = y[:, order], known[:, order]
        weight = None if weight is None else weight[:, order]
        own = {n: y[:, k][known[:, k]] for k, n in enumerate(names)}
    else:
        own = {n: y[known & (task == k)] for k, n in enumerate(names)}
    asked = {name: own[name] for name in kept_names(names, tasks)}
    found = dict(zip(asked, kinds_of(asked, kind, path), strict=True))
    for name, of_name in found.items():
        check_range(asked[name], of_name, path)
    others: dict[str, NpzKind] = dict.fromkeys(names, "regression")
    kinds = tuple((others | found).values())
    y = np.where(known, y, 0)
    return Labels(y, known, task, names, kinds, reasons, weight)


def names_by_number(arrays: Arrays, path: pathlib.Path) -> tuple[str, ...]:
    """The names of all tasks, in the order in which the file numbers them.

    Args:
      arrays: of a file that :func:`read_labels` has read.
      path: the file, for messages.
    """
    y, task = arrays["y"], arrays.get("task")
    keys = SHARED_NAMES if task is None else OWN_NAMES
    count = y.shape[1] if task is None else _num_tasks(arrays, task)
    names, order = _names(arrays, keys, path, count)
    return tuple(names[i] for i in np.argsort(order))


def _check_task(
    task: np.ndarray, size: int, arrays: Arrays, path: pathlib.Path
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


def _num_tasks(arrays: Arrays, task: np.ndarray) -> int:
    for key in OWN_NAMES:
        if key in arrays:
            return len(np.atleast_1d(arrays[key]))
    return int(task.max()) + 1


def _names(
    arrays: Arrays,
    keys: tuple[str, ...],
    path: pathlib.Path,
    num_tasks: int,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Sorted names, and which of the file's tasks each is."""
    key = next((key for key in keys if key in arrays), None)
    given = np.arange(num_tasks) if key is None else arrays[key]
    if given.dtype.kind not in "iuUS":
        raise UserError(
            f"{path}: {key} is of type {given.dtype}: expected a string or an integer "
            "for each task"
        )
    if given.shape != (num_tasks,):
        raise UserError(
            f"{path}: {key} has shape {given.shape}: expected ({num_tasks},), a "
            "name for each task"
        )
    if given.dtype.kind in "iu":
        width = len(str(given.max()))
        names = [f"task_{int(number):0{width}}" for number in given]
    else:
        names = [
            str(n, "utf-8", "replace") if isinstance(n, bytes) else str(n)
            for n in given
        ]
    if "" in names or len(set(names)) < num_tasks:
        wrong = next(n for n in names if not n or names.count(n) > 1)
        raise UserError(
            f"{path}: {key} has {wrong!r} {names.count(wrong)} times: expected "
            "distinct names that are not empty"
        )
    order = np.argsort(names)
    return tuple(sorted(names)), order
