"""CIFAR-100 as 20 tasks: every superclass tells its own five classes apart."""

import pathlib
from collections.abc import Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.division import TEST, TRAIN, VALID, check_fractions, divide
from mtopt.data.equal_rows import equal_rows, on_both_sides
from mtopt.data.tables.npz_file import Archive
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import UserError

FINE, COARSE = 100, 20
PER_TASK = FINE // COARSE
PER_IMAGE = ("x", "fine", "coarse")
KEYS = (*(f"{key}_{part}" for part in ("train", "test") for key in PER_IMAGE),)


def cifar100(
    path: str | pathlib.Path,
    *,
    valid_fraction: float = 0.1,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    """The 20 superclasses of CIFAR-100: name the class of an image within its own.

    Every task has images of its own, and five classes: 0 to 4 in the order of the fine
    classes. The whole set of 60,000 images takes 184 MB on the device as uint8.

    Args:
      path: an ``.npz`` file of ``x_train`` uint8 ``[n, 32, 32, 3]``, ``fine_train``
        ``[n]`` (0 to 99) and ``coarse_train`` ``[n]`` (0 to 19), the same with
        ``_test``, and ``coarse_names`` ``[20]``. Any share of the images will do that
        has all classes.
      valid_fraction: the share of the training images of each class that is left to
        validation, in (0, 1); at least one of three or more.
      seed: of that division.
      tasks: the names of those to keep; None keeps all.

    Returns:
      20 tasks, named as the superclasses and sorted by name; ``x`` is uint8 NHWC in
      0..255, ``[20, n, 32, 32, 3]``.

    Raises:
      UserError: for a missing or damaged file, a missing key, shapes that do not fit,
        classes that are not those of CIFAR-100, or a name that is no task.

    References:
      Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. As 20
      tasks: Rosenbaum, Klinger and Riemer, Routing Networks: Adaptive Selection of
      Non-linear Functions for Multi-Task Learning, 2017, arXiv 1711.01239.

    Differences from the paper:
      It trains on all 500 images of a class, without validation images.
    """
    check_fractions(valid_fraction=valid_fraction)
    path = pathlib.Path(path).expanduser()
    archive = Archive(path)
    missing = [key for key in (*KEYS, "coarse_names") if key not in archive]
    if missing:
        raise UserError(
            f"{archive} and no {', no '.join(missing)}: expected the images and "
            "classes of CIFAR-100 by part; see mtopt.data.images.cifar100"
        )
    arrays = {key: archive[key] for key in (*KEYS, "coarse_names")}
    images, fine, coarse = _joined(arrays, path)
    names = [str(name) for name in arrays["coarse_names"].tolist()]
    labels = _ranks(fine, coarse, names, path)[fine]
    lengths = [len(arrays["fine_train"]), len(arrays["fine_test"])]
    given = np.repeat([TRAIN, TEST], lengths)
    rows = equal_rows(images)
    rng = np.random.default_rng(seed)
    split = divide(given, fine, {VALID: valid_fraction}, rng, rows)

    def part(wanted: int) -> ArraySplit:
        own = [(split == wanted) & (coarse == task) for task in range(COARSE)]
        if not all(rows.any() for rows in own):
            raise UserError(f"{path}: too few images: expected some of every class")
        samples = {n: (images[r], labels[r]) for n, r in zip(names, own, strict=True)}
        return ArraySplit(Batch.disjoint(samples), x_axis=0)

    dataset = Dataset(
        name="cifar100",
        tasks=tuple(sorted(names)),
        kind="classification",
        outputs=PER_TASK,
        x_axis=0,
        train=part(TRAIN),
        valid=part(VALID),
        test=part(TEST),
        reading={"equal inputs": on_both_sides(rows, split)},
    )
    return keep_tasks(dataset, tasks)


def _joined(
    arrays: dict[str, np.ndarray], path: pathlib.Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, fine and coarse classes of both parts, one after the other."""
    for part in ("train", "test"):
        x, fine, coarse = (arrays[f"{key}_{part}"] for key in PER_IMAGE)
        if x.dtype != np.uint8 or x.shape[1:] != (32, 32, 3):
            raise UserError(
                f"{path}: x_{part} is {x.dtype} {x.shape}: expected uint8 "
                "(images, 32, 32, 3)"
            )
        for key, classes, most in (("fine", fine, FINE), ("coarse", coarse, COARSE)):
            inside = classes.dtype.kind in "iu" and classes.shape == x.shape[:1]
            if not inside or ((classes < 0) | (classes >= most)).any():
                raise UserError(
                    f"{path}: {key}_{part} is {classes.dtype} {classes.shape}: "
                    f"expected integers from 0 to {most - 1}, one for each of "
                    f"{len(x)} images"
                )

    def both(key: str) -> np.ndarray:
        return np.concatenate([arrays[f"{key}_train"], arrays[f"{key}_test"]])

    return both("x"), both("fine"), both("coarse")


def _ranks(
    fine: np.ndarray, coarse: np.ndarray, names: list[str], path: pathlib.Path
) -> np.ndarray:
    """The label of every fine class, int32 ``[100]``: its rank in its superclass."""
    pairs = np.unique(np.stack([coarse, fine], axis=1), axis=0).astype(int)
    whole = np.array_equal(pairs[:, 0], np.repeat(np.arange(COARSE), PER_TASK))
    if not whole or len(set(pairs[:, 1])) != FINE:
        raise UserError(
            f"{path} has {len(set(pairs[:, 1]))} fine classes in {len(pairs)} pairs "
            f"with coarse ones: expected {FINE}, five of each of {COARSE}"
        )
    if len(set(names)) != COARSE:
        raise UserError(f"{path}: coarse_names are {names}: expected {COARSE}")
    ranks = np.zeros(FINE, np.int32)
    ranks[pairs[:, 1]] = np.arange(FINE) % PER_TASK
    return ranks
