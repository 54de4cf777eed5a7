"""Images and labels of pixels in ``.npy`` files: what is read of each, and refused."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Num, Shaped, UInt8

from mtopt.data.folders.files import array_at
from mtopt.errors import UserError
from mtopt.pixels import DEPTH, LENGTHS, NORMALS, SEGMENTATION, unit_normals

Size = tuple[int, int]
ROUNDING = 0.01
"""How far single precision and interpolation may carry a colour out of its range."""


@dataclasses.dataclass(frozen=True)
class PixelLabels:
    """The labels of a task, in a folder of their own.

    Args:
      kind: an entry of :data:`mtopt.pixels.PIXELS`, and the name of the task.
      folder: the name of the folder.
      outputs: classes, 1 of depth, 3 of normals.
      dtype: what they are kept in.
    """

    kind: str
    folder: str
    outputs: int
    dtype: Any

    def read(self, path: pathlib.Path, size: Size) -> Num[np.ndarray, "H W ..."]:
        """The labels of an image.

        Args:
          path: the file.
          size: height and width of the image.

        Returns:
          ``[H, W]``, of normals ``[H, W, 3]``, each of length 1 or 0.

        Raises:
          UserError: for a file that cannot be read, or holds what is no label.
        """
        return _READERS[self.kind](self, path, size)


def read_image(path: pathlib.Path) -> UInt8[np.ndarray, "H W 3"]:
    """An image whose file has floats in [0, 1], in steps of 1/255.

    Args:
      path: the file.

    Raises:
      UserError: for a file that cannot be read, or holds something else.
    """
    found = array_at(path)
    expected = "floats from 0 to 1, (height, width, 3)"
    if found.dtype.kind != "f" or found.ndim != 3 or found.shape[2] != 3:
        raise _misfit(path, found, expected)
    _check_range(path, found, -ROUNDING, 1 + ROUNDING, expected)
    return np.round(255 * np.clip(found, 0, 1)).astype(np.uint8)


def _classes(
    labels: PixelLabels, path: pathlib.Path, size: Size
) -> Num[np.ndarray, "H W"]:
    expected = f"classes from 0 to {labels.outputs - 1}, or -1 for none"
    found = _sized(path, size, expected)
    with np.errstate(invalid="ignore"):  # NaN
        whole = found.astype(np.int64)
    if (whole != found).any():
        wrong = found[whole != found][0]
        raise UserError(f"{path} has a pixel of class {wrong}: expected {expected}")
    _check_range(path, whole, -1, labels.outputs - 1, expected)
    return whole.astype(labels.dtype)


def _depths(
    labels: PixelLabels, path: pathlib.Path, size: Size
) -> Num[np.ndarray, "H W"]:
    most = float(np.finfo(labels.dtype).max)
    expected = "depths, or 0 for none"
    found = _sized(path, size, expected)
    _check_range(path, found, 0, most, f"{expected}, at most {most:g}")
    return found.astype(labels.dtype)


def _normals(
    labels: PixelLabels, path: pathlib.Path, size: Size
) -> Num[np.ndarray, "H W 3"]:
    found = array_at(path)
    if found.dtype.kind not in "fiu" or found.shape != (*size, 3):
        raise _misfit(path, found, f"{LENGTHS}, {(*size, 3)}")
    return unit_normals(found, str(path)).astype(labels.dtype)


_READERS = {SEGMENTATION: _classes, DEPTH: _depths, NORMALS: _normals}


def _sized(path: pathlib.Path, size: Size, expected: str) -> Shaped[np.ndarray, "H W"]:
    """One number a pixel, with or without an axis of channels."""
    found = array_at(path)
    if found.dtype.kind not in "fiu" or found.shape not in (size, (*size, 1)):
        raise _misfit(path, found, f"{expected}, {size} or {(*size, 1)}")
    return found.reshape(size)


def _check_range(
    path: pathlib.Path,
    found: np.ndarray,
    least: int | float,
    most: int | float,
    expected: str,
) -> None:
    """Raises for a number outside, or one that is none."""
    inside = (found >= least) & (found <= most)
    if not inside.all():
        raise UserError(f"{path} has {found[~inside][0]}: expected {expected}")


def _misfit(path: pathlib.Path, found: np.ndarray, expected: str) -> UserError:
    return UserError(f"{path} is {found.dtype} {found.shape}: expected {expected}")
