"""Which images a domain has, of which class and part: from list files, or folders."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from mtopt.data.division import SPLITS, TEST, TRAIN, VALID, divide
from mtopt.data.folders.files import folder_at, lines_of
from mtopt.errors import UserError

LISTS = ("train", "val", "test")
"""What the list files of each part are called."""
SHARES = {VALID: 0.2, TEST: 0.2}
"""Of the images of a class in a domain, where no list says which part they are of."""


class DomainFiles(NamedTuple):
    """The images of a domain.

    Attributes:
      paths: of the images.
      classes: of each, from 0.
      parts: of each, as in ``mtopt.data.division.SPLITS``.
      names: of the classes; those of their folders.
    """

    paths: tuple[pathlib.Path, ...]
    classes: Int[np.ndarray, " n"]
    parts: Int[np.ndarray, " n"]
    names: tuple[str, ...]

    def of_part(self, part: str) -> tuple[list[pathlib.Path], Int[np.ndarray, " m"]]:
        """Paths and classes of the images of a part."""
        rows = np.flatnonzero(self.parts == SPLITS.index(part))
        return [self.paths[i] for i in rows], self.classes[rows]


def listed(root: pathlib.Path, domain: str, count: int) -> DomainFiles:
    """The images that the three list files of a domain name.

    Args:
      root: the folder of the lists, which paths in them are relative to.
      domain: whose they are.
      count: how many classes there are.

    Raises:
      UserError: for a list that is missing, a line that is none, a class out of range,
        or an image that is missing.
    """
    paths, classes, parts = [], [], []
    names: dict[int, set[str]] = {}
    for part, word in enumerate(LISTS):
        file = root / f"{domain}_{word}.txt"
        for line in lines_of(file):
            path, number = _entry(file, line, count)
            paths.append(root / path)
            classes.append(number)
            parts.append(part)
            names.setdefault(number, set()).add(paths[-1].parent.name)
            if not paths[-1].is_file():
                raise UserError(f"no file {paths[-1]}: {file} names it")
    one_each = [names.get(number, set()) for number in range(count)]
    known = all(len(each) == 1 for each in one_each)
    return DomainFiles(
        tuple(paths),
        np.array(classes, np.int32),
        np.array(parts),
        tuple(min(each) for each in one_each) if known else (),
    )


def has_lists(root: pathlib.Path, domains: Sequence[str]) -> bool:
    """Whether a folder has list files, of any of the domains.

    Args:
      root: the folder.
      domains: all there may be.
    """
    return any((root / f"{d}_{w}.txt").is_file() for d in domains for w in LISTS)


def found(
    root: pathlib.Path, domains: Mapping[str, Sequence[str]], count: int, seed: int
) -> dict[str, DomainFiles]:
    """The images in folders of classes in folders of domains.

    Classes are numbered in the order of their names. Of the images of a class in a
    domain a fifth is drawn for validation and a fifth for testing.

    Args:
      root: the folder of the domains.
      domains: each with the folders that it may be in.
      count: how many classes there are.
      seed: of the division into parts.

    Raises:
      UserError: for a folder that is missing or empty, other classes than those of the
        first domain, or another number of them.
    """
    places = {
        domain: _place(root, domain, choices) for domain, choices in domains.items()
    }
    each = {
        domain: [path.name for path in _visible(place) if path.is_dir()]
        for domain, place in places.items()
    }
    first, *_ = domains
    for domain, names in each.items():
        if len(names) != count:
            raise UserError(
                f"{places[domain]} has {len(names)} folders: expected {count}, one a "
                "class"
            )
        if missing := sorted({*each[first]} - {*names}):
            raise UserError(
                f"no folder {places[domain] / missing[0]}: expected the classes of "
                f"{places[first]}"
            )
    made = {}
    for place, (domain, names) in zip(places.values(), each.items(), strict=True):
        paths, classes = [], []
        for number, name in enumerate(names):
            inside = [path for path in _visible(place / name) if path.is_file()]
            if not inside:
                raise UserError(f"{place / name} is empty: expected images")
            paths += inside
            classes += [number] * len(inside)
        labels = np.array(classes, np.int32)
        # A domain has its parts, whichever others are read.
        rng = np.random.default_rng([seed, *domain.encode()])
        rows = np.arange(len(paths))
        parts = divide(np.full(len(paths), TRAIN), labels, SHARES, rng, rows)
        made[domain] = DomainFiles(tuple(paths), labels, parts, tuple(names))
    return made


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """What is in a folder, without what systems hide there, in the order of names."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def _entry(file: pathlib.Path, line: str, count: int) -> tuple[str, int]:
    """Path and class of a line."""
    path, _, number = line.strip().rpartition(" ")
    if not path or not number.isdecimal() or int(number) >= count:
        raise UserError(
            f"{file} has the line {line!r}: expected a path, a space and a class from "
            f"0 to {count - 1}"
        )
    return path, int(number)


def _place(root: pathlib.Path, domain: str, choices: Sequence[str]) -> pathlib.Path:
    """The first of the folders of a domain that is there."""
    for choice in choices:
        if (root / choice).is_dir():
            return root / choice
    return folder_at(root / choices[0], f"the images of {domain}, a folder a class")
