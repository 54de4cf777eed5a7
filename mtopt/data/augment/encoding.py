"""What makes inputs of raw images where transformations belong to the inputs."""

import dataclasses
from typing import Any

import jax
import numpy as np

from mtopt.data.augment.sample import Sample
from mtopt.data.augment.transformations import transformations
from mtopt.data.encoding import Encoding


@dataclasses.dataclass(frozen=True)
class TransformedImages:
    """Images of another encoding, changed as those of training were, but by chance.

    Args:
      before: what makes images of raw ones.
      by: transformations that read no key, as of :func:`mtopt.data.augmented`.

    Example:
      >>> from mtopt.data.encoding import AsTheyAre
      >>> black = np.zeros((3, 2, 2, 1), np.uint8)
      >>> encoding = TransformedImages(
      ...     AsTheyAre("uint8", (2, 2, 1)), "normalise(mean=(0.5,), std=(0.5,))")
      >>> encoding(black)[0, 0, 0].tolist()
      [-1.0]
    """

    before: Encoding
    by: str

    def __call__(self, raw: Any) -> np.ndarray:
        """The inputs of raw images; errors as of the encoding before."""
        key = jax.random.key(0)

        def one(image: Any) -> Any:
            sample = Sample(image, ())
            for stage in transformations(self.by):
                sample = stage(sample, key)
            return sample.image

        return np.asarray(jax.vmap(one)(self.before(raw)))
