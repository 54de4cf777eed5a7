"""Images of an ``.npz`` file, as the convolutional models take them."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Num

from mtopt.data.equal_rows import equal_rows
from mtopt.data.tables.npz_counts import SPARSE
from mtopt.data.tables.npz_file import Arrays
from mtopt.data.tables.npz_inputs import INPUTS
from mtopt.data.tables.npz_tasks import NEW, TasksOfFile, arrays_of
from mtopt.data.tables.scaling import Scaling
from mtopt.errors import UserError

KEY = "x"


class Images(NamedTuple):
    """The images of a file, before anything is fitted to them.

    Attributes:
      pixels: ``[N, H, W, C]``, in the type that the file has them in.
    """

    pixels: Num[np.ndarray, "N H W C"]

    def rows(self, task: np.ndarray | None) -> Int[np.ndarray, " N"]:
        """Numbers of the images, the same where all pixels, and the task, are equal."""
        return equal_rows(self.pixels, *([] if task is None else [task]))

    def description(self, train: np.ndarray, max_features: int = 0) -> dict[str, str]:
        """Array of the file to what is made of it, in words."""
        del train, max_features
        size = " x ".join(map(str, self.pixels.shape[1:]))
        how = "bytes, divided by 255 by the model"
        if self.pixels.dtype != np.uint8:
            how = "each channel standardised"
        return {KEY: f"images of {size}, {how}"}


@dataclasses.dataclass(frozen=True)
class ImageEncoding(TasksOfFile):
    """Images in their own place: bytes as they are, numbers by their channels.

    Args:
      shape: (height, width, channels).
      mean: of each channel in the training images; none of bytes.
      std: likewise the standard deviation.
      tasks: as of :class:`~mtopt.data.tables.npz_tasks.TasksOfFile`.
      own_rows: likewise.

    Example:
      >>> ImageEncoding((2, 2, 1))(np.zeros((3, 2, 2), np.uint8)).shape
      (3, 2, 2, 1)
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, images: Images, train: Bool[np.ndarray, " N"], max_features: int = 0
    ) -> "ImageEncoding":
        """That of the training images.

        Args:
          images: of a file.
          train: True for its training images.
          max_features: of word counts, which images have not.
        """
        del max_features
        height, width, channels = images.pixels.shape[1:]
        if images.pixels.dtype == np.uint8:
            return cls((height, width, channels))
        mean, std = Scaling.of(images.pixels[train].reshape(-1, channels))
        moments = tuple(mean.tolist()), tuple(std.tolist())
        return cls((height, width, channels), *moments)

    def __call__(self, raw: Any) -> Num[np.ndarray, "N H W C"]:
        """The inputs of new images.

        Args:
          raw: an array, a dict with it under ``x``, or an ``.npz`` file of one.

        Raises:
          UserError: for images of another size or type than in training.
        """
        found = arrays_of(raw)
        images = read_images({KEY: np.asarray(found[KEY] if found else raw)}, NEW)
        bytes_here = images is not None and images.pixels.dtype == np.uint8
        if images is None or images.pixels.shape[1:] != self.shape:
            shape = np.shape(found[KEY] if found else raw)
            raise UserError(
                f"{NEW} have shape {shape}: expected images (N, "
                f"{', '.join(map(str, self.shape))}), as in training"
            )
        if bytes_here == bool(self.mean):
            raise UserError(
                f"{NEW} are {images.pixels.dtype}: expected "
                f"{'numbers' if self.mean else 'uint8'}, as in training"
            )
        return self.encoded(images)

    def encoded(self, images: Images) -> Num[np.ndarray, "N H W C"]:
        """Images that have been read; uint8, or float32."""
        if not self.mean:
            return images.pixels
        scaling = Scaling(np.array(self.mean), np.array(self.std))
        flat = images.pixels.reshape(-1, self.shape[2])
        return scaling(flat).reshape(images.pixels.shape)


def read_images(arrays: Arrays, path: pathlib.Path) -> Images | None:
    """The images of a file whose ``x`` has some; None of any other.

    Args:
      arrays: the arrays of the file.
      path: the file, for messages.

    Raises:
      UserError: for images beside other inputs, or of another type.

    Example:
      >>> images = read_images({"x": np.zeros((5, 8, 8))}, pathlib.Path("mine.npz"))
      >>> images.pixels.shape
      (5, 8, 8, 1)
      >>> read_images({"x": np.zeros((5, 8))}, pathlib.Path("mine.npz"))
    """
    if KEY not in arrays or arrays[KEY].ndim not in (3, 4):
        return None
    pixels = arrays[KEY]
    beside = [key for key in (*INPUTS, *SPARSE) if key != KEY and key in arrays]
    if beside:
        raise UserError(
            f"{path}: x has images {pixels.shape}, and there is {', '.join(beside)}: "
            "expected images alone, or columns (N, D)"
        )
    if pixels.dtype.kind not in "uif" or 0 in pixels.shape:
        raise UserError(
            f"{path}: x is {pixels.dtype}{list(pixels.shape)}: expected images of "
            "numbers, (N, H, W) or (N, H, W, C)"
        )
    if not np.isfinite(pixels).all():
        raise UserError(
            f"{path}: x has images with {(~np.isfinite(pixels)).sum()} pixels that are "
            "not finite: expected numbers"
        )
    return Images(pixels if pixels.ndim == 4 else pixels[..., None])
