"""Pairs of images as a prepared tfds data set, written and read without TensorFlow.

Importing this file imports tfds: the loaders do so only where they stream.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtopt.data.images.pairs import Pairs
from mtopt.errors import UserError

CHUNK = 1_000


class PairsBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes the pairs of every split as array_record files, one record a pair.

    A record is ``x``, the image as a uint8 tensor (tfds encodes its own image feature
    with TensorFlow), and ``y``, the two classes.

    Args:
      pairs: split name to pairs, all of one layout.
      data_dir: the folder of prepared files.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None  # Nothing is downloaded: no checksums to look for.

    def __init__(self, pairs: Mapping[str, Pairs], data_dir: pathlib.Path) -> None:
        self._pairs = pairs
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        shape = next(iter(self._pairs.values())).layout.shape
        features = {
            "x": tfds.features.Tensor(shape=shape, dtype=np.uint8),
            "y": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Two overlapping images, the tasks left and right.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {name: self._generate_examples(p) for name, p in self._pairs.items()}

    def _generate_examples(
        self, pairs: Pairs
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        labels = pairs.labels
        for start in range(0, len(pairs), CHUNK):
            for offset, image in enumerate(pairs.draw(start, start + CHUNK)):
                index = start + offset
                yield index, {"x": image, "y": labels[:, index]}


def prepared(pairs: Mapping[str, Pairs], folder: pathlib.Path) -> Mapping[str, Any]:
    """The pairs as random-access sources on disk, written first where they are not.

    tfds writes to a folder of another name and renames it when it is complete: a
    build that was killed leaves nothing that a later run would take for the data.

    Args:
      pairs: split name to pairs.
      folder: where they are, or will be; it must be named after all that determines
        the pairs, since what is there is not compared with them.

    Returns:
      Split name to a source of ``{"x": uint8 image, "y": int32 [2]}``.

    Raises:
      UserError: where the folder cannot be written.
    """
    builder = PairsBuilder(pairs, folder)
    try:
        builder.download_and_prepare()
    except OSError as error:
        if not builder.data_path.exists():
            raise UserError(
                f"cannot prepare the pairs in {folder} ({error}): name a folder with "
                "space that you may write to (cache=, or the variable MTOPT_CACHE)"
            ) from error
        # Another process was faster, so that the renaming found its folder there.
        builder = PairsBuilder(pairs, folder)
    # tfds's decorator hides the arguments of as_data_source from the type checker.
    read = builder.as_data_source
    return {name: read(name) for name in pairs}  # pyright: ignore[reportCallIssue]
