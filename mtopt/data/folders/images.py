"""Image files with a label each, decoded and resized when they are read."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mtopt.data.folders.files import image_at
from mtopt.errors import expect


class ImageFiles:
    """The images of a part with their labels, read one by one.

    Args:
      paths: of the images.
      labels: of each, one or several.
      size: height and width that they are resized to, in pixels.

    Raises:
      UserError: for an image that cannot be read, when it is.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        labels: Shaped[np.ndarray, "n ..."],
        size: int,
    ) -> None:
        # Of a hundred thousand files, texts take a fraction of the memory.
        self.paths = tuple(map(str, paths))
        self.labels = labels
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        x = image_at(pathlib.Path(self.paths[index]), self.size)
        return {"x": x, "y": np.asarray(self.labels[index])}


def check_size(size: Any) -> None:
    """Raises unless images may be resized to it.

    Raises:
      UserError: for what is no number of pixels.
    """
    whole = isinstance(size, int) and not isinstance(size, bool)
    expect(whole and size >= 1, "size", size, "a whole number of pixels, 1 or more")
