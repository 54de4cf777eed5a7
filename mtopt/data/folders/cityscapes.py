"""Cityscapes as the line of MTAN has it: classes and inverse depth of streets."""

import pathlib
from collections.abc import Sequence

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.folders.pixel_labels import PixelLabels
from mtopt.data.folders.pixels import read_pixels
from mtopt.data.sources import JointDataset
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.errors import expect
from mtopt.pixels import DEPTH, SEGMENTATION

CLASSES = (2, 7, 19)


def cityscapes(
    folder: str | pathlib.Path,
    *,
    classes: int = 7,
    valid_fraction: float | int = 0.1,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset | JointDataset:
    """Cityscapes in the files of MTAN: what stands in a pixel, and how near it is.

    The folder has ``train/`` (2,975 images) and ``val/`` (500), each with a file
    ``INDEX.npy`` for every image in each of

    ============ ======================= ==================================== =====
    folder       array                   label of a pixel                     none
    ============ ======================= ==================================== =====
    ``image/``   float [128, 256, 3]     red, green and blue, 0 to 1
    ``label_7/`` number [128, 256]       ``segmentation``: a class            -1
    ``depth/``   float [128, 256, 1]     ``depth``: inverse depth, 0 to 0.5   0
    ============ ======================= ==================================== =====

    ``label_2/`` and ``label_19/`` hold other classes of the same pixels; where there is
    no such folder, ``label/`` is read. What else is said of :func:`mtopt.data.nyuv2`
    holds here too: other sizes, misfits, what is read before training.

    Args:
      folder: with ``train/`` and ``val/``.
      classes: 2, 7 or 19.
      valid_fraction: as of :func:`mtopt.data.nyuv2`: in [0, 1), and 0 for the published
        protocol, which validates on the test part.
      seed: of which images are left to validation.
      tasks: the names of those to keep, files of others are not read; None keeps all.
      on_device_bytes: the most that all parts may take on the device; larger sets, such
        as the published one (0.9 GB), are read from the files as they are needed.

    Returns:
      A group for each task, on shared inputs; one task alone is a plain data set. ``x``
      is uint8 ``[n, H, W, 3]``, ``y`` int8 ``[1, n, H, W]`` of classes and float32
      ``[1, n, H, W]`` of inverse depths: relative errors are of pixels far away, whose
      numbers are too small for half precision.

    Raises:
      UserError: as :func:`mtopt.data.nyuv2`; for another number of classes.

    References:
      Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR
      2016, arXiv 1604.01685. The files, and the tasks on them: Liu, Johns and Davison,
      End-to-End Multi-Task Learning with Attention, CVPR 2019, arXiv 1803.10704.

    Differences from released code:
      As of :func:`mtopt.data.nyuv2`, but that inverse depths keep their precision.
      Random crops of the line of MTAN divide inverse depths by the scale; here
      ``scale_crop`` multiplies them, as what is seen larger is nearer.
    """
    expect(classes in CLASSES, "classes", classes, f"one of {CLASSES}")
    own = f"label_{classes}"
    there = (pathlib.Path(folder).expanduser() / "train" / own).is_dir()
    return read_pixels(
        folder,
        name="cityscapes",
        labels=(
            PixelLabels(SEGMENTATION, own if there else "label", classes, np.int8),
            PixelLabels(DEPTH, "depth", 1, np.float32),
        ),
        inverse_depth=True,
        valid_fraction=valid_fraction,
        seed=seed,
        tasks=tasks,
        on_device_bytes=on_device_bytes,
    )
