"""The data sets of the paper, as rows to fit and rows to predict."""

import dataclasses
import pathlib

import numpy as np
from sklearn.model_selection import train_test_split

from mtopt.data.tables.boosting_scenarios import Rows
from mtopt.data.tables.npz_file import Archive
from mtopt.errors import UserError, expect

from ..report import MEASURES, Measure
from .published import SOURCES

SPLIT_SEED = 42
TEST_SHARE = 0.2
KEYS = ("x", "y", "task")


@dataclasses.dataclass(frozen=True)
class Table:
    """A data set, divided.

    Attributes:
      name: of :data:`SOURCES`.
      train: rows to fit.
      test: rows to predict.
      num_tasks: T.
      num_classes: None for regression.
    """

    name: str
    train: Rows
    test: Rows
    num_tasks: int
    num_classes: int | None

    @property
    def kind(self) -> str:
        """Regression or classification."""
        return SOURCES[self.name].kind

    @property
    def measure(self) -> Measure:
        """What it is judged by."""
        return MEASURES[self.kind]


def data_file(name: str, data_dir: pathlib.Path) -> pathlib.Path:
    """Where a data set is expected."""
    return data_dir / name / "data.npz"


def read_table(name: str, data_dir: pathlib.Path) -> Table:
    """Reads and divides a data set.

    Raises:
      UserError: where it is missing, damaged, or holds something else.
    """
    path = data_file(name, data_dir)
    archive = Archive(path)
    if lacking := [key for key in KEYS if key not in archive]:
        raise UserError(
            f"{archive} and no {', no '.join(lacking)}: expected x, y and task"
        )
    x, y, labels = (archive[key] for key in KEYS)
    sized = x.ndim == 2 and y.shape == labels.shape == x.shape[:1]
    shapes = (x.shape, y.shape, labels.shape)
    expect(sized, f"{path}: x, y and task", shapes, "[N, D], [N] and [N]")
    num_classes, dtype = None, np.float32
    if SOURCES[name].kind == "classification":
        whole = np.isin(y, range(1 + int(y.max()))).all()
        expect(
            bool(whole), f"{path}: y", np.unique(y)[:5].tolist(), "classes from 0 on"
        )
        num_classes, dtype = 1 + int(y.max()), np.int32
    tasks, task = np.unique(labels, return_inverse=True)
    order = np.arange(len(y))
    divided = train_test_split(order, test_size=TEST_SHARE, random_state=SPLIT_SEED)
    train, test = (
        Rows(x[rows], y[rows].astype(dtype), task[rows].astype(np.int32))
        for rows in divided
    )
    return Table(name, train, test, len(tasks), num_classes)
