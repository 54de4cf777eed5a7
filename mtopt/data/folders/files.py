"""Files of a folder: found and read, with one clear line for one that does not fit."""

import pathlib

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from mtopt.errors import UserError


def folder_at(path: str | pathlib.Path, expected: str) -> pathlib.Path:
    """A folder that has to be there.

    Args:
      path: where.
      expected: what it holds, for the error.

    Raises:
      UserError: where there is none.
    """
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: expected {expected}")
    return folder


def array_at(path: pathlib.Path) -> Shaped[np.ndarray, "..."]:
    """The array of an ``.npy`` file.

    Args:
      path: the file.

    Raises:
      UserError: for a missing or damaged file, or one of Python objects.
    """
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"cannot read {path} ({_cause(error)}): expected what numpy.save writes"
        ) from error
    if not isinstance(found, np.ndarray):
        raise UserError(f"{path} holds several arrays: expected one, by numpy.save")
    return found


def image_at(path: pathlib.Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The image of a file that Pillow reads, as RGB of one size.

    It is stretched to a square, and interpolated bilinearly over all the pixels that
    one of the new size covers.

    Args:
      path: the file.
      size: height and width, in pixels.

    Raises:
      UserError: for a missing or damaged file, or one of another kind.
    """
    try:
        with Image.open(path) as image:
            square = image.convert("RGB").resize(
                (size, size), Image.Resampling.BILINEAR
            )
            return np.array(square)
    # A damaged PNG is a SyntaxError, one of too many pixels an error of Pillow's own.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"cannot read {path} ({_cause(error)}): expected an image"
        ) from error


def lines_of(path: pathlib.Path) -> list[str]:
    """The lines of a text file, without empty ones.

    Args:
      path: the file.

    Raises:
      UserError: for a missing file, one that is no text, or one without lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({_cause(error)}): expected a text file"
        ) from error
    found = [line for line in text.splitlines() if line.strip()]
    if not found:
        raise UserError(f"{path} has no lines: expected one for each image")
    return found


def _cause(error: BaseException) -> str:
    """What Python says of an error, in one line and without the path, which is said."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(said.split())
