"""Named arrays of a run in one file, which a reader never sees half of."""

import pathlib
from typing import Any

import numpy as np


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """What is in the file; nothing where there is none yet."""
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return dict(stored)


def write_arrays(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    """Writes the file anew, and puts it in the place of the old one in one move."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)
