"""A file of new rows, as a trained model takes them."""

import pathlib
from typing import Any

import numpy as np

from mtopt.data.encoding import EncodingOfTasks
from mtopt.data.tables.frame_columns import number_in
from mtopt.data.tables.frame_encoding import BOOLEANS, FrameEncoding
from mtopt.data.tables.npz_file import Archive
from mtopt.data.tables.table import read_table
from mtopt.errors import UserError
from mtopt.trained.model import TrainedModel

INPUTS = "x"
"""The inputs in an ``.npz`` file of a model that takes one array."""


def read_raw(path: pathlib.Path, model: TrainedModel) -> Any:
    """The rows of a file.

    Args:
      path: CSV, TSV or Parquet for a model of a table; ``.npz`` for one of arrays, or
        ``.npy`` where it takes one array, which in an ``.npz`` is ``x``.
      model: that is to predict them.

    Raises:
      UserError: for a file of another kind, or one that can't be read.
    """
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"no file {path}: expected one of new rows")
    if isinstance(model.encoding, FrameEncoding):
        return read_table(path, (*model.encoding.names, *_label_names(model)))
    if path.suffix == ".npz":
        archive = Archive(path)
        if isinstance(model.encoding, EncodingOfTasks):
            return archive
        if INPUTS not in archive:
            raise UserError(f"{archive}: expected {INPUTS}, the inputs")
        return archive[INPUTS]
    if path.suffix != ".npy":
        raise UserError(
            f"{path} ends in {path.suffix!r}: expected .npz or .npy, as the run was "
            "trained on arrays"
        )
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"cannot read {path} ({error}): expected what numpy.save writes"
        ) from error


def labels_beside(path: pathlib.Path, model: TrainedModel) -> dict[str, Any] | None:
    """The labels beside the rows, of each task by its name.

    Args:
      path: as of :func:`read_raw`.
      model: whose tasks they are of.

    Returns:
      None where what the model reads of the file has its labels.

    Raises:
      UserError: for a file without labels.
    """
    if isinstance(model.encoding, EncodingOfTasks):
        return None
    path = path.expanduser()
    expected = f"expected {INPUTS}, and labels as arrays {', '.join(model.tasks)}"
    if path.suffix != ".npz":
        raise UserError(f"{path} has no labels: {expected}, in an .npz file")
    archive = Archive(path)
    found = {task: archive[task] for task in model.tasks if task in archive}
    if not found:
        raise UserError(f"{archive}: {expected}")
    return found


def _label_names(model: TrainedModel) -> list[str]:
    """The columns of labels that are names, though a file may have digits alone."""
    groups = model.description.groups
    classes = {t: own for group in groups for t, own in group.classes.items()}
    encoding = model.encoding
    assert isinstance(encoding, FrameEncoding)  # asked before
    return [
        column
        for task, column in encoding.label_columns.items()
        if not all(
            n in BOOLEANS or number_in(n) is not None for n in classes.get(task, ())
        )
    ]
