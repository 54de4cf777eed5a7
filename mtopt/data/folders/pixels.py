"""Folders of images with labels of pixels, an ``.npy`` file each."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mtopt.data.dataset import Dataset
from mtopt.data.division import TRAIN, VALID, divide
from mtopt.data.folders.files import folder_at
from mtopt.data.folders.pixel_labels import PixelLabels, read_image
from mtopt.data.placed import placed
from mtopt.data.sources import JointDataset, join
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError, expect_number
from mtopt.pixels import DEPTH, has_label

IMAGE = "image"
SAMPLED = 64
"""Training images whose labels are looked at before training: those evenly spaced."""


class PixelFiles:
    """The images of a part, and their labels of several tasks, read one by one.

    Args:
      folder: of the part, in which images and the labels of each task have a folder.
      numbers: of the images that are meant.
      labels: of each task.
      like: the image that all others are of the size of; none of these: the first.

    Raises:
      UserError: for a file that does not fit, when it is read.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        numbers: Int[np.ndarray, " n"],
        labels: Sequence[PixelLabels],
        like: pathlib.Path | None = None,
    ) -> None:
        self.folder = folder
        self.numbers = numbers
        self.labels = tuple(labels)
        self.like = like or self._file(IMAGE, 0)
        self.size = read_image(self.like).shape[:2]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        path = self._file(IMAGE, index)
        x = read_image(path)
        if x.shape[:2] != self.size:
            raise UserError(
                f"{path} is an image of {x.shape[:2]}: expected {self.size}, as that "
                f"of {self.like}"
            )
        y = tuple(
            own.read(self._file(own.folder, index), self.size)[None]
            for own in self.labels
        )
        return {"x": x, "y": y}

    def _file(self, folder: str, index: int) -> pathlib.Path:
        return self.folder / folder / f"{self.numbers[index]}.npy"


def read_pixels(
    folder: str | pathlib.Path,
    *,
    name: str,
    labels: Sequence[PixelLabels],
    inverse_depth: bool,
    valid_fraction: float | int,
    seed: int,
    tasks: Sequence[str] | None,
    on_device_bytes: int,
) -> Dataset | JointDataset:
    """What :func:`mtopt.data.nyuv2` and :func:`mtopt.data.cityscapes` read.

    Args:
      folder: with ``train/`` and ``val/``.
      name: of the data set.
      labels: of all its tasks.
      inverse_depth: whether depths are inverse ones.
      valid_fraction: of the images of ``train/``.
      seed: of which they are.
      tasks: the names of those to keep.
      on_device_bytes: the most that all parts may take on the device.
    """
    expect_number("valid_fraction", valid_fraction, at_least=0, below=1)
    kept = kept_names(sorted(own.kind for own in labels), tasks)
    labels = sorted(
        (own for own in labels if own.kind in kept), key=lambda own: own.kind
    )
    folders = [IMAGE, *(own.folder for own in labels)]
    layout = f"train/ and val/, each with {', '.join(f'{each}/' for each in folders)}"
    root = folder_at(folder, f"{name} as it is published: {layout}")
    numbers = {part: _numbers(root / part, folders) for part in ("train", "val")}
    parts = _divided(len(numbers["train"]), valid_fraction, seed, root / "train")
    train = PixelFiles(root / "train", numbers["train"][parts == TRAIN], labels)
    test = PixelFiles(root / "val", numbers["val"], labels, train.like)
    valid = test
    if valid_fraction:
        held_out = numbers["train"][parts == VALID]
        valid = PixelFiles(root / "train", held_out, labels, train.like)
    sources = {"train": train, "valid": valid, "test": test}
    kinds = [(own.kind,) for own in labels]
    splits = placed(sources, kinds, on_device_bytes)
    looked_at = _looked_at(train)
    said = {"folder": str(root), "parts": _parts_words(valid_fraction, seed)}
    groups = []
    for own, parts_of, seen in zip(labels, splits, looked_at, strict=True):
        known = has_label(seen, own.kind)
        words = f", {1 - known.mean():.1%} of pixels have none in {len(known)} images"
        scale = None
        if own.kind == DEPTH:
            scale = _deviation(seen[known], root / "train" / own.folder)
        groups.append(
            Dataset(
                name=name,
                tasks=(own.kind,),
                kind=own.kind,
                outputs=own.outputs,
                x_axis=None,
                train=parts_of["train"],
                valid=parts_of["valid"],
                test=parts_of["test"],
                target_scale=scale,
                inverse_depth=inverse_depth and own.kind == DEPTH,
                reading={**said, "of labels": {own.kind: words}},
            )
        )
    return join(*groups, shared_inputs=True) if len(groups) > 1 else groups[0]


def _numbers(part: pathlib.Path, folders: Sequence[str]) -> np.ndarray:
    """The numbers of the images of a part, each of which has all labels.

    Raises:
      UserError: for a folder or a file that is missing.
    """
    images, *others = (_numbered(part / folder) for folder in folders)
    for folder, found in zip(folders[1:], others, strict=True):
        for one, two, where, beside in (
            (images, found, folder, IMAGE),
            (found, images, IMAGE, folder),
        ):
            if missing := sorted(one - two):
                raise UserError(
                    f"no file {part / where / f'{missing[0]}.npy'}: expected one for "
                    f"each of the {len(one)} in {part / beside}"
                )
    return np.array(sorted(images))


def _numbered(folder: pathlib.Path) -> set[int]:
    """The numbers of the files of a folder.

    Raises:
      UserError: where there is no folder, none in it, or one of another name.
    """
    expected = "files 0.npy, 1.npy and so on"
    paths = sorted(folder_at(folder, expected).glob("*.npy"))
    if not paths:
        raise UserError(f"{folder} has no .npy file: expected {expected}")
    for path in paths:
        if path.stem != (str(int(path.stem)) if path.stem.isdecimal() else None):
            raise UserError(f"{path}: expected {expected}")
    return {int(path.stem) for path in paths}


def _divided(
    count: int, valid_fraction: float | int, seed: int, train: pathlib.Path
) -> np.ndarray:
    """The part of each training image."""
    parts = np.full(count, TRAIN)
    if not valid_fraction:
        return parts
    group, rng = np.zeros(count, int), np.random.default_rng(seed)
    parts = divide(parts, group, {VALID: valid_fraction}, rng, np.arange(count))
    if (parts == VALID).any():
        return parts
    raise UserError(
        f"valid_fraction={valid_fraction} leaves none of the {count} images of {train} "
        "to validation: expected more images, a larger share, or 0"
    )


def _looked_at(train: PixelFiles) -> list[np.ndarray]:
    """The labels of each task of some training images, ``[n, H, W, ...]``."""
    count = min(SAMPLED, len(train))
    places = np.linspace(0, len(train) - 1, count, dtype=int).tolist()
    samples = [train[i]["y"] for i in places]
    return [np.concatenate(own) for own in zip(*samples, strict=True)]


def _deviation(known: np.ndarray, folder: pathlib.Path) -> np.ndarray:
    """The deviation of known depths, ``[1]``.

    Raises:
      UserError: where there is none, or they are all equal.
    """
    found = known.astype(np.float64).std() if len(known) else 0.0
    if found == 0:
        raise UserError(
            f"{folder}: {len(np.unique(known))} different depths in {SAMPLED} images "
            "or fewer: expected two or more"
        )
    return np.array([found])


def _parts_words(valid_fraction: float | int, seed: int) -> str:
    if not valid_fraction:
        return "train: all of train/, valid and test: val/, the same images"
    return f"valid: {valid_fraction:.3g} of train/, by seed {seed}; test: val/"
