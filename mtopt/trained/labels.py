"""Labels as data have them, as a model's metrics read them."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from mtopt.errors import UserError
from mtopt.models.ordinal import ORDINAL
from mtopt.pixels import NO_LABEL, NORMALS, PIXELS, SEGMENTATION, unit_normals
from mtopt.trained.description import GroupDescription


def read_labels(
    group: GroupDescription, task: str, labels: Any
) -> tuple[Num[np.ndarray, "N ..."], Bool[np.ndarray, " N"]]:
    """Targets and mask of one task.

    Args:
      group: that the task is of.
      task: its name.
      labels: numbers, or names of classes where the training labels had some, ``[N]``
        or, of label columns and distributions, ``[N, L]``; an array or a column of a
        frame. None, NaN and other empty cells are missing. Labels of pixels are arrays,
        which say themselves where there is none.

    Returns:
      Targets, 0 where they are missing, and where they are not.

    Raises:
      UserError: for a class that training had not, or what is no number.

    Example:
      >>> from mtopt.data.encoding import AsTheyAre
      >>> encoding = AsTheyAre("float32", (1,))
      >>> group = GroupDescription(("of",), "binary", 1, None, (1,), "float32",
      ...                          encoding, classes={"of": ("a", "b")})
      >>> target, mask = read_labels(group, "of", ["b", None, "a"])
      >>> target.tolist(), mask.tolist()
      ([1.0, 0.0, 0.0], [True, False, True])
    """
    if group.kind in PIXELS:
        return _read_maps(group, task, labels)
    cells = np.asarray(labels, object)
    empty = np.vectorize(_empty, otypes=[bool])(cells)
    names = group.classes.get(task, ())
    if names:
        codes = {name: code for code, name in enumerate(names)}
        pairs = zip(cells, empty, strict=True)
        words = [None if missing else _word(cell) for cell, missing in pairs]
        if unknown := sorted({w for w in words if w is not None} - {*names}):
            raise UserError(
                f"labels of task {task!r} have {unknown[0]!r}: expected "
                f"{', '.join(map(repr, names))}, as in training"
            )
        target = np.array([0 if word is None else codes[word] for word in words])
    else:
        try:
            target = np.where(empty, 0, cells).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"labels of task {task!r} are no numbers ({error}): expected numbers, "
                "as in training"
            ) from error
        _expect_classes(group, task, target)
    mask = ~empty.reshape(len(cells), -1).any(axis=1)
    return target.astype(np.float64), mask


def _read_maps(
    group: GroupDescription, task: str, labels: Any
) -> tuple[Num[np.ndarray, "N ..."], Bool[np.ndarray, " N"]]:
    """Labels of pixels, none of which is missing but by its value.

    Raises:
      UserError: for what is no array of finite numbers, ``[N, h, w]``, or of normals
        ``[N, h, w, 3]``; for what is no class, no distance, or longer than 1.
    """
    normals = group.kind == NORMALS
    expected = f"an array of numbers [N, h, w{', 3' if normals else ''}]"
    try:
        maps = np.asarray(labels)
    except ValueError as error:
        raise UserError(
            f"labels of task {task!r} are no array ({error}): expected {expected}"
        ) from error
    if maps.dtype.kind not in "biuf" or maps.ndim != (4 if normals else 3):
        raise UserError(
            f"labels of task {task!r} are {maps.dtype}{list(maps.shape)}: expected "
            f"{expected}"
        )
    if not np.isfinite(maps).all():
        raise UserError(
            f"labels of task {task!r} have pixels that are not finite: expected "
            f"{NO_LABEL[group.kind]} where there is no label"
        )
    if normals:
        return unit_normals(maps, f"task {task!r}"), np.ones(len(maps), bool)
    if group.kind == SEGMENTATION:
        fits = np.isin(maps, np.arange(-1, group.outputs))
        expected = f"whole numbers from 0 to {group.outputs - 1}, or -1 for no label"
    else:
        fits, expected = maps >= 0, "numbers above 0, or 0 for no label"
    if not fits.all():
        raise UserError(
            f"labels of task {task!r} have {maps[~fits][0]}: expected {expected}"
        )
    return maps, np.ones(len(maps), bool)


def _expect_classes(group: GroupDescription, task: str, target: np.ndarray) -> None:
    """Raises for numbers that are no classes of a task whose labels are some."""
    counts = {"binary": 2, "multilabel": 2}
    counts |= dict.fromkeys(("classification", *ORDINAL), group.outputs)
    count = counts.get(group.kind)
    if count is None:
        return
    wrong = target[~np.isin(target, np.arange(count))]
    if len(wrong):
        raise UserError(
            f"labels of task {task!r} have {wrong[0]:g}: expected whole numbers from 0 "
            f"to {count - 1}, as in training"
        )


def _empty(cell: Any) -> bool:
    """Whether a label is missing: NaN, NaT and NA are not equal to themselves."""
    same = cell == cell
    return cell is None or not (isinstance(same, bool | np.bool_) and bool(same))


def _word(cell: Any) -> str:
    """The name of a class; of a number the one that a table gives it."""
    is_number = isinstance(cell, int | float | np.number) and not isinstance(cell, bool)
    return str(int(cell)) if is_number and cell == np.floor(cell) else str(cell)
