"""Where the files of a run are, and the arrays among them."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np


def run_folder(folder: pathlib.Path, text: str, seeds: tuple[int, ...]) -> pathlib.Path:
    """The folder of a method and a stack of seeds inside that of the run."""
    return folder / folder_name(text) / ("seed-" + "-".join(map(str, seeds)))


def folder_name(text: str) -> str:
    """The folder name of a method.

    Example:
      >>> folder_name("mgda(normalize='l2')")
      'mgda-normalize-l2'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """What is in an ``.npz`` file; nothing where there is none yet."""
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return dict(stored)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Writes the file anew, and puts it in the place of the old one in one move."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)
