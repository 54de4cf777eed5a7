"""Reading an ``.npz`` file, with one clear line for one that is damaged."""

import pathlib
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from mtopt.errors import UserError


def read_arrays(
    path: pathlib.Path, wanted: Callable[[str], bool]
) -> dict[str, np.ndarray]:
    """The arrays of a file whose keys are wanted; the others are not read.

    Args:
      path: the file.
      wanted: says of a key whether it is read.

    Raises:
      UserError: for a missing or damaged file, or arrays of Python objects.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.npz"
      >>> np.savez(path, a=np.ones(2), b=np.zeros(3))
      >>> read_arrays(path, "a".__eq__)
      {'a': array([1., 1.])}
    """
    if not path.is_file():
        raise UserError(f"no file {path}: expected an .npz file of arrays")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if wanted(key)}
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(
            f"cannot read {path} ({' '.join(str(error).split())}): expected what "
            "numpy.savez writes, of plain arrays without Python objects"
        ) from error
