"""Reading an ``.npz`` file, with one clear line for one that is damaged."""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from mtopt.errors import UserError

Result = TypeVar("Result")
Arrays = Mapping[str, Any]
"""Arrays by key. ``Any``, since a check of the type of a value would read it."""
DAMAGE = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class Archive(Arrays):
    """The arrays of an ``.npz`` file by key, each read when it is first asked for.

    What was never asked for is known by name: a user whose array was not read must
    hear of it.

    Args:
      path: the file.

    Raises:
      UserError: for a missing or damaged file, or, when it is asked for, an array of
        Python objects; it names the array.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.npz"
      >>> np.savez(path, a=np.ones(2), b=np.zeros(3))
      >>> archive = Archive(path)
      >>> archive["a"], archive.unread
      (array([1., 1.]), ('b',))
    """

    def __init__(self, path: pathlib.Path) -> None:
        if not path.is_file():
            raise UserError(f"no file {path}: expected an .npz file of arrays")
        self.path = path
        self._read: dict[str, np.ndarray] = {}
        self._keys = self._open("the file", lambda archive: tuple(archive.files))

    @property
    def unread(self) -> tuple[str, ...]:
        """The keys that were never asked for, sorted."""
        return tuple(sorted(set(self._keys) - self._read.keys()))

    @override
    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._read:
            self._read[key] = self._open(f"array {key}", lambda file: file[key])
        return self._read[key]

    @override
    def __contains__(self, key: object) -> bool:
        return key in self._keys

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    @override
    def __len__(self) -> int:
        return len(self._keys)

    @override
    def __str__(self) -> str:
        """What the file has, for messages."""
        return f"{self.path} has {', '.join(sorted(self._keys)) or 'no array'}"

    def _open(
        self, what: str, read: Callable[[np.lib.npyio.NpzFile], Result]
    ) -> Result:
        try:
            # A lone .npy array opens too, but not as a context.
            with self.path.open("rb") as file, np.load(file) as archive:
                return read(archive)
        except DAMAGE as error:
            cause = " ".join(str(error).split())
            if "Object arrays" in cause:
                cause = "it holds Python objects: store names as astype(str)"
                cause += ", numbers as astype(float)"
            raise UserError(
                f"cannot read {what} of {self.path} ({cause}): expected what "
                "numpy.savez writes, of plain arrays"
            ) from error
