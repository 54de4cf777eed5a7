"""NYUv2 as the line of MTAN has it: classes, depth and normals of rooms."""

import pathlib
from collections.abc import Sequence

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.folders.pixel_labels import PixelLabels
from mtopt.data.folders.pixels import read_pixels
from mtopt.data.sources import JointDataset
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.pixels import DEPTH, NORMALS, SEGMENTATION

CLASSES = 13


def nyuv2(
    folder: str | pathlib.Path,
    *,
    valid_fraction: float | int = 0.1,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset | JointDataset:
    """NYUv2 in the files of MTAN: what stands in a pixel, how far, and facing where.

    The folder has ``train/`` (795 images) and ``val/`` (654), each with a file
    ``INDEX.npy`` for every image in each of

    =========== ======================= =================================== ========
    folder      array                   label of a pixel                    none
    =========== ======================= =================================== ========
    ``image/``  float [288, 384, 3]     red, green and blue, 0 to 1
    ``label/``  number [288, 384]       ``segmentation``: a class, 0 to 12  -1
    ``depth/``  float [288, 384, 1]     ``depth``: a distance in metres     0
    ``normal/`` float [288, 384, 3]     ``normals``: a unit vector          (0, 0, 0)
    =========== ======================= =================================== ========

    Another size will do where it is that of all images. Nothing is downloaded. A file
    that does not fit ends in an error with its name: files that are missing at once,
    others when they are read, of which 64 training images are before training.

    Args:
      folder: with ``train/`` and ``val/``.
      valid_fraction: the share of the images of ``train/`` that are left to validation,
        in [0, 1): the published files have none, and ``val/`` is the test part. 0, as
        in the published code: all of ``train/`` is trained on, and the test part is the
        validation part too; a model that is chosen on it has better scores than it
        will have on other images.
      seed: of which they are.
      tasks: the names of those to keep, files of others are not read; None keeps all.
      on_device_bytes: the most that all parts may take on the device. Larger sets,
        such as the published one (1.9 GB), are read from the files as they are needed.

    Returns:
      A group for each task, on shared inputs; one task alone is a plain data set. ``x``
      is uint8 ``[n, H, W, 3]``, rounded to steps of 1/255, which models divide by 255.
      ``y`` is int8 ``[1, n, H, W]`` of classes, float16 ``[1, n, H, W]`` of depths,
      within 1/2048 of themselves, and float16 ``[1, n, H, W, 3]`` of normals, within
      0.03 degrees and 1/2048 of their length. Errors of depth meet others in units of
      the deviation of depth in those 64 images.

    Raises:
      UserError: for a folder or file that is missing, of another shape, or holds what
        is no label; for an option out of range, or a name that is no task.

    Example:
      >>> import tempfile
      >>> root = pathlib.Path(tempfile.mkdtemp())
      >>> for part in ("train", "val"):
      ...     for i in range(4):
      ...         arrays = {"image": np.full((8, 8, 3), i / 4), "depth": np.eye(8) + i,
      ...                   "label": np.eye(8) - 1, "normal": np.eye(8)[:, :, None] *
      ...                   [0., 0., 1.]}
      ...         for kind, array in arrays.items():
      ...             (root / part / kind).mkdir(parents=True, exist_ok=True)
      ...             np.save(root / part / kind / f"{i}.npy", array)
      >>> data = nyuv2(root)
      >>> data.tasks, [group.outputs for group in data.groups]
      (('depth', 'normals', 'segmentation'), [1, 3, 13])
      >>> data.train.size, data.valid.size, data.test.size
      (3, 1, 4)

    References:
      Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV
      2012. The files, and the tasks on them: Liu, Johns and Davison, End-to-End
      Multi-Task Learning with Attention, CVPR 2019, arXiv 1803.10704.

    Differences from released code:
      That of the line of MTAN has no validation part, takes the mean of the last ten
      epochs' scores on ``val/`` for the result (``test_looks=10`` of
      :class:`mtopt.training.fit.FitOptions`), and reads single precision. It takes
      the vectors of the files for normals as they are; here each is divided by its
      length.
    """
    return read_pixels(
        folder,
        name="nyuv2",
        labels=(
            PixelLabels(SEGMENTATION, "label", CLASSES, np.int8),
            PixelLabels(DEPTH, "depth", 1, np.float16),
            PixelLabels(NORMALS, "normal", 3, np.float16),
        ),
        inverse_depth=False,
        valid_fraction=valid_fraction,
        seed=seed,
        tasks=tasks,
        on_device_bytes=on_device_bytes,
    )
