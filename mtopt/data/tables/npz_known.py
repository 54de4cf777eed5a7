"""Which labels of an ``.npz`` file are there, and what they weigh.

There are five ways to say that one is missing.
"""

import pathlib

import numpy as np

from mtopt.data.tables.npz_file import Arrays
from mtopt.errors import UserError

MISSING_BYTE = 255


def read_known(
    arrays: Arrays, path: pathlib.Path, missing: float | int | None
) -> tuple[np.ndarray, dict[str, int]]:
    """Which labels are not missing, and how many each way of saying so has hit.

    Args:
      arrays: the arrays of the file.
      path: the file, for messages.
      missing: the value of a missing label; None where no value means that.

    Returns:
      True where a label is there, in the shape of ``y``; and words to how many labels
      are missing for that reason and for none before it.

    Raises:
      UserError: for infinite labels, a ``missing`` that no label has, a ``mask`` of
        anything but True and False, or weights ``w`` below 0 or not finite.

    Example:
      >>> y, w = np.array([[0., np.nan], [1., 0.]]), np.array([[1., 1.], [1., 0.]])
      >>> known, reasons = read_known({"y": y, "w": w}, pathlib.Path(), None)
      >>> known.tolist(), reasons
      ([[True, False], [True, False]], {'NaN': 1, 'w is 0': 1})
    """
    y = arrays["y"]
    absent: dict[str, np.ndarray] = {}
    if y.dtype.kind == "f":
        absent["NaN"] = np.isnan(y)
        if infinite := int(np.isinf(y).sum()):
            raise UserError(
                f"{path}: y has {infinite} infinite labels: expected numbers, and NaN "
                "where a label is missing"
            )
    if y.dtype == np.uint8:
        absent["255 in an array of bytes"] = y == MISSING_BYTE
    if missing is not None:
        absent[f"the value {missing:g}"] = y == missing
        if not absent[f"the value {missing:g}"].any():
            raise UserError(
                f"{path}: no label of y is {missing:g}: expected missing={missing:g} "
                "to mark some; leave it out"
            )
    if "w" in arrays:
        absent["w is 0"] = read_weights(arrays, y.shape, path) == 0
    if "mask" in arrays:
        absent["mask is False"] = ~_masked(arrays["mask"], y.shape, path)
    known, reasons = np.ones(y.shape, bool), {}
    for words, where in absent.items():
        if hit := int((known & where).sum()):
            reasons[words] = hit
        known &= ~where
    if not known.any():
        raise UserError(
            f"{path}: every label of y is missing "
            f"({', '.join(f'{words}: {n}' for words, n in reasons.items())}): "
            "expected some"
        )
    return known, reasons


def read_weights(
    arrays: Arrays, shape: tuple[int, ...], path: pathlib.Path
) -> np.ndarray | None:
    """What each label weighs, in the shape of ``y``; None where the file has no ``w``.

    Args:
      arrays: the arrays of the file.
      shape: of ``y``.
      path: the file, for messages.

    Raises:
      UserError: for another shape, or other values than finite numbers of at least 0.

    Example:
      >>> read_weights({"w": np.array([[2], [0]])}, (2, 2), pathlib.Path()).tolist()
      [[2, 2], [0, 0]]
    """
    if "w" not in arrays:
        return None
    w = arrays["w"]
    if w.dtype.kind not in "biuf" or not (np.isfinite(w) & (w >= 0)).all():
        raise UserError(
            f"{path}: w is {w.dtype} with other values than finite numbers of at least "
            "0: expected what each label weighs, 0 where it is missing"
        )
    return _spread("w", w, shape, path)


def _masked(mask: np.ndarray, shape: tuple[int, ...], path: pathlib.Path) -> np.ndarray:
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise UserError(
            f"{path}: mask is {mask.dtype} with other values than 0 and 1: expected "
            "True where a label is there"
        )
    return _spread("mask", mask, shape, path) == 1


def _spread(
    name: str, array: np.ndarray, shape: tuple[int, ...], path: pathlib.Path
) -> np.ndarray:
    """An array for labels, or for rows, in the shape of the labels."""
    rows = shape[0]
    # One number for each task is not one for each row, even where both are as many.
    unclear = array.ndim == 1 and len(shape) == 2 and shape[1] == rows > 1
    if array.shape == shape:
        return array
    if array.shape in ((rows,), (rows, 1)) and not unclear:
        column = array.reshape(rows, *(1 for _ in shape[1:]))
        return np.broadcast_to(column, shape)
    raise UserError(
        f"{path}: {name} has shape {array.shape}: expected {shape}, as y, or "
        f"({rows}, 1), one for each row"
    )
