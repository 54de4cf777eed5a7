"""Where the files of a run are, and the arrays among them."""

import hashlib
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

READABLE = 80
"""The most characters of a text in a file name, of which systems take 255 bytes."""


def run_folder(folder: pathlib.Path, text: str, seeds: tuple[int, ...]) -> pathlib.Path:
    """The folder of a method and a stack of seeds inside that of the run."""
    return folder / folder_name(text) / ("seed-" + "-".join(map(str, seeds)))


def folder_name(text: str) -> str:
    """The folder name of a method: another for every other text.

    A name without options is its own folder. What else a text has, brackets and signs
    among it, can't stand in a file name: it is left out, and a digest of the whole text
    takes its place.

    Example:
      >>> folder_name("mgda"), folder_name("mgda(normalize='l2')")
      ('mgda', 'mgda-normalize-l2-6bbd6162ddd4')
    """
    if re.fullmatch(rf"[a-z0-9_]{{1,{READABLE}}}", text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:READABLE]
    # No digest without a hyphen: a plain name is never that of another text.
    return f"{readable}-{digest}"


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
