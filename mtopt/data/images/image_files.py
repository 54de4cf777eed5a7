"""Where MNIST and Fashion-MNIST come from: IDX files, or tfds's prepared data."""

import pathlib

import numpy as np

from mtopt.data.images.idx import read_idx
from mtopt.data.images.pairs import Images
from mtopt.data.prepared.found import PreparedSet
from mtopt.errors import UserError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def load_images(
    name: str, folder: str | pathlib.Path | None, *, subfolder_only: bool
) -> dict[str, Images]:
    """The official training and test images of ``mnist`` or ``fashion_mnist``.

    Args:
      name: ``mnist`` or ``fashion_mnist``; the two have files of the same names.
      folder: a folder with the four IDX files, gzipped or not, in a subfolder of that
        name or directly; None for what tfds has prepared in its own folder.
      subfolder_only: True where both sets are read, so that each needs its subfolder.

    Returns:
      ``train`` and ``test`` images, uint8 ``[n, 28, 28]``.

    Raises:
      UserError: for missing or damaged files; nothing is ever downloaded.
    """
    if folder is None:
        return _from_tfds(name)
    return _from_files(name, pathlib.Path(folder).expanduser(), subfolder_only)


def _from_files(
    name: str, folder: pathlib.Path, subfolder_only: bool
) -> dict[str, Images]:
    own = folder / name
    root = own if own.is_dir() or subfolder_only else folder
    read = {}
    for split, (images, labels) in FILES.items():
        pixels = read_idx(_find(root, name, images))
        read[split] = _checked(pixels, read_idx(_find(root, name, labels)), root)
    return read


def _find(root: pathlib.Path, name: str, file: str) -> pathlib.Path:
    """The file as it is, or gzipped."""
    for path in (root / file, root / f"{file}.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"no {file}[.gz] in {root}: expected the four IDX files of {name} there, or in "
        f"its subfolder {name}"
    )


def _checked(images: np.ndarray, labels: np.ndarray, root: pathlib.Path) -> Images:
    square = images.ndim == 3 and images.shape[1:] == (28, 28)
    if not square or labels.shape != (len(images),):
        raise UserError(
            f"images in {root} have shape {images.shape} and labels {labels.shape}: "
            "expected (n, 28, 28) and (n,)"
        )
    if labels.max(initial=0) > 9:
        raise UserError(f"labels in {root} go up to {labels.max()}: expected 0 to 9")
    return Images(images, labels)


def _from_tfds(name: str) -> dict[str, Images]:
    try:
        found = PreparedSet.of(name, None)
    except UserError as error:
        raise UserError(
            f"{error}; or give the folder of its four IDX files (folder=)"
        ) from error
    return {split: _collect(found, split) for split in FILES}


def _collect(found: PreparedSet, split: str) -> Images:
    records = found.records(split, ("image", "label"))
    samples = records.__getitems__(range(len(records)))
    images = np.stack([sample["image"][..., 0] for sample in samples])
    return Images(images, np.array([sample["label"] for sample in samples]))
