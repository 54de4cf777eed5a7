"""Planted scenes: classes, depth and normals of every pixel, known exactly."""

from collections.abc import Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.division import SPLITS
from mtopt.data.images.random_scenes import CLASSES, random_scene
from mtopt.data.images.rendering import Camera, render
from mtopt.data.sources import JointDataset, join
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError, expect, expect_number

OUTPUTS = {"depth": 1, "normals": 3, "segmentation": len(CLASSES)}
"""Task, which is also its kind, to the size of its output."""
TASKS = tuple(OUTPUTS)
SMALLEST = 8
"""The least height and width, in pixels."""


def scenes(
    *,
    num_train: int = 1_000,
    num_valid: int = 200,
    num_test: int = 400,
    size: int = 64,
    noise: float = 0.02,
    holes: bool = True,
    missing: float = 0.0,
    labelled: int = 0,
    permuted: bool | str | Sequence[str] = False,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Dataset | JointDataset:
    """Rendered rooms: what stands in each pixel, how far away, and which way it faces.

    Each image is a scene of its own, of spheres and boxes on a floor before walls or a
    sky; see :func:`~mtopt.data.images.random_scenes.random_scene` for what is drawn and
    :func:`~mtopt.data.images.rendering.render` for colours, shadows and labels. Nothing
    is downloaded.

    ================ ===================================== =========================
    task, and kind   label of a pixel                      not valid
    ================ ===================================== =========================
    ``depth``        distance along the camera's axis, m   0: holes, or nothing seen
    ``normals``      unit vector; x right, y down, z away  (0, 0, 0): nothing seen
    ``segmentation`` 0 background, 1 floor, 2 wall,        -1: holds two surfaces
                     3 sphere, 4 box
    ================ ===================================== =========================

    Depth has the holes that a sensor with a projector 10 cm to the right of the camera
    leaves: far and grazing surfaces, what the projector does not reach, glossy spots.
    Pixels that a surface fills in part have no class, as annotators leave a line around
    objects. About a tenth of what is seen is a hole, a twentieth has no class.

    Args:
      num_train: training images, at least 1.
      num_valid: validation images, at least 1.
      num_test: test images, at least 1.
      size: height and width of an image, in pixels, 8 or more; of whatever size, it
        shows the same scenes.
      noise: the standard deviation of a camera's noise, in shares of white, 0 or more.
      holes: whether depth has holes; without, it is known wherever anything is seen.
      missing: the share of training images that have no label of a task, 0 to below 1,
        drawn for each task by itself.
      labelled: of how many training images a task has labels, in place of ``missing``;
        0: of all. Each task has images of its own as far as there are enough, so that
        what the others know of theirs is all they can give it.
      permuted: tasks whose training labels are dealt out anew among the images that
        have one, to none its own: the control in which there is nothing to learn from
        them, and nothing to share. True: all tasks.
      seed: of scenes, noise, and which labels are missing or permuted.
      tasks: the names of those to keep; None keeps all.

    Returns:
      A group for each task, on shared inputs; one task alone is a plain data set. ``x``
      is uint8 ``[n, size, size, 3]``, which models divide by 255; ``y`` float32
      ``[1, n, size, size]`` of depth, ``[1, n, size, size, 3]`` of normals, int32
      ``[1, n, size, size]`` of classes. Validation and test images have all labels. The
      first images of a part are the same however many there are, and of whatever tasks.

    Raises:
      UserError: for an option out of range, or a name that is no task.

    Example:
      >>> data = scenes(num_train=6, num_valid=1, num_test=1, size=16, labelled=2)
      >>> data.tasks, [group.outputs for group in data.groups]
      (('depth', 'normals', 'segmentation'), [1, 3, 5])
      >>> batch = next(data.train.in_order(6))
      >>> batch.x.shape, [y.shape for y in batch.y]
      ((6, 16, 16, 3), [(1, 6, 16, 16), (1, 6, 16, 16, 3), (1, 6, 16, 16)])
      >>> sum(int(mask.sum()) for mask in batch.mask)
      6

    References:
      The three tasks on photographs: Silberman et al., Indoor Segmentation and Support
      Inference from RGBD Images, ECCV 2012 (NYUv2). What the projector of a depth
      sensor does not reach: Khoshelham and Elberink, Accuracy and Resolution of Kinect
      Depth Data for Indoor Mapping Applications, Sensors 12, 2012.
    """
    _check(num_train, num_valid, num_test, size, noise, holes, missing, labelled)
    kept = kept_names(TASKS, tasks)
    dealt_anew = _permuted(permuted)
    *streams, choices = np.random.default_rng(seed).spawn(len(SPLITS) + 1)
    counts = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    masks = _labelled(num_train, missing, labelled, choices)
    for task in dealt_anew:
        count = int(masks[task].sum())
        if count < 2:
            raise UserError(
                f"permuted is {permuted!r}, and {task} has a label for {count} "
                "training image: expected 2 or more to permute"
            )
    parts = {
        part: _drawn(count, size, noise, holes, stream)
        for (part, count), stream in zip(counts.items(), streams, strict=True)
    }
    _, labels = parts["train"]
    for task in TASKS:  # drawn for all of them, whichever are asked for
        order = choices.permutation(np.flatnonzero(masks[task]))
        if task in dealt_anew:
            labels[task][order] = labels[task][np.roll(order, 1)]
    groups = []
    for task in kept:
        splits = {}
        for part, (images, own) in parts.items():
            mask = masks[task] if part == "train" else np.ones(len(images), bool)
            samples = Batch(images, own[task][None], mask[None], (task,))
            splits[part] = ArraySplit(samples, x_axis=None)
        reading = {"classes": {task: CLASSES}} if task == "segmentation" else {}
        known = labels[task][masks[task]]
        groups.append(
            Dataset(
                name="scenes",
                tasks=(task,),
                kind=task,
                outputs=OUTPUTS[task],
                x_axis=None,
                reading=reading,
                target_scale=known[known > 0].std()[None] if task == "depth" else None,
                **splits,
            )
        )
    return join(*groups, shared_inputs=True) if len(groups) > 1 else groups[0]


def _drawn(
    count: int, size: int, noise: float, holes: bool, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images and labels of as many new scenes."""
    camera = Camera.of_size(size)
    images = np.empty((count, size, size, 3), np.uint8)
    labels = {
        "depth": np.empty((count, size, size), np.float32),
        "normals": np.empty((count, size, size, 3), np.float32),
        "segmentation": np.empty((count, size, size), np.int32),
    }
    # The noise of more pixels must not change the scenes that follow.
    of_scenes, of_noise = rng.spawn(2)
    for i in range(count):
        seen = render(random_scene(of_scenes), camera)
        bright = seen.image + noise * of_noise.normal(size=seen.image.shape)
        images[i] = np.round(255 * np.clip(bright, 0, 1))
        labels["depth"][i] = np.where(seen.holes & holes, 0, seen.depth)
        labels["normals"][i] = seen.normals
        labels["segmentation"][i] = seen.classes
    return images, labels


def _labelled(
    count: int, missing: float, labelled: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Task to which of so many training images have its label, ``[count]``."""
    first = rng.permutation(count)
    masks = {}
    for k, task in enumerate(TASKS):
        if labelled:
            chosen = first[(k * labelled + np.arange(labelled)) % count]
        else:
            chosen = rng.permutation(count)[round(missing * count) :]
        masks[task] = np.isin(np.arange(count), chosen)
    return masks


def _permuted(permuted: bool | str | Sequence[str]) -> tuple[str, ...]:
    """The tasks whose labels are."""
    if isinstance(permuted, bool):
        return TASKS if permuted else ()
    names = (permuted,) if isinstance(permuted, str) else tuple(permuted)
    known = all(name in TASKS for name in names)
    expect(known, "permuted", permuted, f"True, False, or names of {TASKS}")
    return names


def _check(
    num_train: int,
    num_valid: int,
    num_test: int,
    size: int,
    noise: float,
    holes: bool,
    missing: float,
    labelled: int,
) -> None:
    """Raises for an option out of range."""
    least = {
        "num_train": (num_train, 1),
        "num_valid": (num_valid, 1),
        "num_test": (num_test, 1),
        "size": (size, SMALLEST),
        "labelled": (labelled, 0),
    }
    for name, (value, bound) in least.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        good = whole and value >= bound
        expect(good, name, value, f"a whole number, {bound} or more")
    expect_number("noise", noise, at_least=0, below=float("inf"))
    expect(holes in (True, False), "holes", holes, "True or False")
    expect_number("missing", missing, at_least=0, below=1)
    expect(labelled <= num_train, "labelled", labelled, f"0 to num_train, {num_train}")
    expect(not (labelled and missing), "missing", missing, "0 where labelled is given")
    if round(missing * num_train) == num_train:
        raise UserError(
            f"missing is {missing}, which leaves none of {num_train} training images a "
            "label: expected a smaller share, or more images"
        )
