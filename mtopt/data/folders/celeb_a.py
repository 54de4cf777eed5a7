"""CelebA: forty attributes of faces, a binary task each, on one image."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int8

from mtopt.data.dataset import Dataset
from mtopt.data.division import SPLITS
from mtopt.data.folders.files import folder_at, lines_of
from mtopt.data.folders.images import ImageFiles, check_size
from mtopt.data.placed import placed
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError

IMAGES, ATTRIBUTES, PARTITION = (
    "img_align_celeba",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
)
PUBLISHED = {IMAGES: "Img", ATTRIBUTES: "Anno", PARTITION: "Eval"}
"""The subfolder that each stands in as it is published."""
LAYOUT = f"{IMAGES}/, {ATTRIBUTES} and {PARTITION}"
KIND = "mtopt.models.binary:by_f1"


def celeb_a(
    folder: str | pathlib.Path,
    *,
    size: int = 64,
    tasks: Sequence[str] | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset:
    r"""CelebA: which of forty attributes a face has, such as a smile, or glasses.

    The folder has, directly or in ``Img``, ``Anno`` and ``Eval`` as published,

    =========================== ========================================================
    ``img_align_celeba/``       202,599 images of aligned faces, 178 x 218 pixels
    ``list_attr_celeba.txt``    how many there are; the names of the attributes; of each
                                image its file and, for each attribute, 1 or -1
    ``list_eval_partition.txt`` of each image its file and 0 (training), 1 (validation)
                                or 2 (test)
    =========================== ========================================================

    Nothing is downloaded. Images are decoded when they are read; one that cannot be
    ends in an error with its name.

    Args:
      folder: with those.
      size: height and width, in pixels, that images are resized to (bilinearly, over
        all the pixels that one covers, and without regard to their proportions), 1 or
        more; 64 in the published tables.
      tasks: the attributes to keep; None keeps all that there are.
      on_device_bytes: the most that all parts may take on the device; larger sets, such
        as the published one at 64 pixels (2.5 GB), are read from the files as they are
        needed.

    Returns:
      A task for each attribute, on shared inputs. ``x`` is uint8
      ``[n, size, size, 3]``, which models divide by 255, ``y`` int8 ``[K, n]``, 0 or 1.
      Labels are of the kind :data:`mtopt.models.binary.by_f1`: its first metric, by
      which models are chosen, is F1, that of the published tables.

    Raises:
      UserError: for a folder or file that is missing, a line that is none, images that
        the two lists do not share or that are missing, a part without images, an option
        out of range, or a name that is no attribute.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> root = pathlib.Path(tempfile.mkdtemp())
      >>> (root / "img_align_celeba").mkdir()
      >>> for name in ("a.jpg", "b.jpg", "c.jpg"):
      ...     Image.new("RGB", (8, 9)).save(root / "img_align_celeba" / name)
      >>> lines = "3\nSmiling Bald\na.jpg 1 -1\nb.jpg 1 1\nc.jpg -1 -1\n"
      >>> _ = (root / "list_attr_celeba.txt").write_text(lines)
      >>> _ = (root / "list_eval_partition.txt").write_text("a.jpg 0\nb.jpg 1\nc.jpg 2")
      >>> data = celeb_a(root, size=4)
      >>> data.tasks, next(data.train.in_order(1)).y.tolist()
      (('Bald', 'Smiling'), [[0], [1]])

    References:
      Liu, Luo, Wang and Tang, Deep Learning Face Attributes in the Wild, ICCV 2015,
      arXiv 1411.7766. As forty tasks at 64 pixels, by F1: Liu, Feng, Stone and Liu,
      FAMO: Fast Adaptive Multitask Optimization, 2023, arXiv 2306.03792.

    Differences from released code:
      FAMO's F1 is 0 where no label is 1 and none is predicted; here it is undefined.
    """
    check_size(size)
    root = folder_at(folder, f"CelebA: {LAYOUT}")
    images = _found(root, IMAGES)
    files, names, labels = _attributes(_found(root, ATTRIBUTES))
    parts = _parts(_found(root, PARTITION), files)
    there = set(os.listdir(folder_at(images, "the images of CelebA")))
    for file in files:
        if file not in there:
            raise UserError(f"no file {images / file}: {ATTRIBUTES} names it")
    kept = kept_names(names, tasks)
    labels = labels[:, [names.index(name) for name in kept]]
    sources = {}
    for number, part in enumerate(SPLITS):
        rows = np.flatnonzero(parts == number)
        if not len(rows):
            raise UserError(
                f"{_found(root, PARTITION)} has no image of part {number} ({part}): "
                "expected one or more"
            )
        paths = [images / files[i] for i in rows]
        sources[part] = ImageFiles(paths, labels[rows], size)
    (splits,) = placed(sources, [kept], on_device_bytes)
    shares = labels[parts == 0].mean(axis=0)
    return Dataset(
        name="celeb_a",
        tasks=kept,
        kind=KIND,
        outputs=1,
        x_axis=None,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        reading={
            "folder": str(root),
            "parts": f"by {PARTITION}",
            "of labels": {
                name: f", {share:.1%} of those of training are 1"
                for name, share in zip(kept, shares, strict=True)
            },
        },
    )


def _found(root: pathlib.Path, name: str) -> pathlib.Path:
    """A file or folder, in the subfolder that it is published in or beside others."""
    for path in (root / name, root / PUBLISHED[name] / name):
        if path.exists():
            return path
    raise UserError(f"no {name} in {root}: expected {LAYOUT}")


def _attributes(
    path: pathlib.Path,
) -> tuple[list[str], tuple[str, ...], Int8[np.ndarray, "n K"]]:
    """The images, the attributes sorted by name, and which an image has."""
    count, *lines = lines_of(path)
    if len(lines) < 2 or count.strip() != str(len(lines) - 1):
        raise UserError(
            f"{path} starts with {count!r} and has {len(lines)} lines more: expected "
            "the number of images, a line of attributes, and one of each image"
        )
    names, *rows = lines[0].split(), *lines[1:]
    if len(set(names)) < len(names):
        raise UserError(f"{path} has an attribute twice: expected names that differ")
    files, values = [], np.empty((len(rows), len(names)), np.int8)
    for i, row in enumerate(rows):
        file, *cells = row.split()
        if len(cells) != len(names) or not {*cells} <= {"1", "-1"}:
            raise UserError(
                f"{path}: the line of {file} is not a file and {len(names)} times 1 or "
                "-1, as there are attributes"
            )
        files.append(file)
        values[i] = [cell == "1" for cell in cells]
    order = sorted(range(len(names)), key=lambda k: names[k])
    return files, tuple(names[k] for k in order), values[:, order]


def _parts(path: pathlib.Path, files: Sequence[str]) -> Int[np.ndarray, " n"]:
    """The part of each image, 0 to 2."""
    numbers = {}
    for line in lines_of(path):
        file, _, number = line.strip().rpartition(" ")
        if not file or number not in ("0", "1", "2"):
            raise UserError(
                f"{path} has the line {line!r}: expected a file and 0, 1 or 2"
            )
        numbers[file] = int(number)
    for one, other, has in (
        ({*files}, numbers.keys(), f"no line of {{}}, which {ATTRIBUTES} has"),
        (numbers.keys(), {*files}, f"a line of {{}}, which {ATTRIBUTES} has not"),
    ):
        if missing := sorted(one - other):
            raise UserError(f"{path} has {has.format(missing[0])}")
    return np.array([numbers[file] for file in files])
