"""An image with its labels, as a transformation takes it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels that an image has of the tasks of one kind.

    Args:
      values: ``[K, ...]``; of pixels ``[K, H, W]``, of normals ``[K, H, W, 3]``.
      kind: as of :class:`mtopt.data.Dataset`.
      inverse: whether depths are inverse ones.
    """

    values: Any
    kind: str = dataclasses.field(metadata={"static": True})
    inverse: bool = dataclasses.field(default=False, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sample:
    """An image and all of its labels.

    Args:
      image: ``[H, W, channels]``; uint8 in 0..255, or floats in [0, 1].
      labels: of each group of tasks.
    """

    image: Any
    labels: tuple[Labels, ...]

    def with_labels(
        self, image: Any, of_kind: Mapping[str, Callable[[Labels], Any]]
    ) -> "Sample":
        """With another image, and other labels of some kinds.

        Args:
          image: in place of its own.
          of_kind: kind to what makes their values of them; the labels of other kinds
            stay as they are.
        """
        labels = tuple(
            dataclasses.replace(own, values=of_kind[own.kind](own))
            if own.kind in of_kind
            else own
            for own in self.labels
        )
        return Sample(image, labels)
