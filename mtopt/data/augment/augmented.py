"""A data set whose training images are changed at random, each time they are seen."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from typing_extensions import override

from mtopt.batch import Batch
from mtopt.data.augment.encoding import TransformedImages
from mtopt.data.augment.sample import Labels, Sample
from mtopt.data.augment.transformations import of_inputs, transformations
from mtopt.data.batches import Batches
from mtopt.data.dataset import Dataset, Split
from mtopt.data.encodings import encoding_of
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.pixels import PIXELS

TAG = 0x696D6167
"""Keys of images are apart from those of a run's parameters and noise by it."""

AnyDataset = TypeVar("AnyDataset", Dataset, JointDataset)


def augmented(dataset: AnyDataset, by: str) -> AnyDataset:
    """Changes training images at random, and their labels with them.

    What is drawn for an image depends on the seed, the step and its place in the batch
    alone: a resumed run goes on with the very same images. It is done on the device,
    in the step's program where batches are made there: splits in memory and streams
    are augmented in the same way, and what is read, kept and moved are the images as
    they were. Validation and test images are never changed at random, nor are training
    images that are read in order.

    Args:
      dataset: of images ``[H, W, channels]``, uint8 or floats in [0, 1]; a joint one
        after it is joined. Labels of pixels follow their image; others stay as they
        are. Whether depths are inverse ones, ``inverse_depth`` of the data set says.
      by: transformations joined by ``+``, in the order in which they are done, each a
        name of :data:`mtopt.data.augment.TRANSFORMATIONS` with its options:
        ``"scale_crop(scales=(1.0, 1.5)) + flip"``. ``normalise``, which changes the
        images of all parts, comes last.

    Returns:
      The data set; its single-task models see the images that all tasks see together.

    Raises:
      UserError: for a text that can't be read, other inputs than images, or labels of
        pixels that are not of the image's size.

    Example:
      >>> from mtopt.data import multi_digits
      >>> digits = multi_digits(num_train=8, num_valid=4, num_test=4)
      >>> data = augmented(digits, "scale_crop + colour(brightness=0.5)")
      >>> one, again = (next(data.train.batches(4, seeds=(0,))).x for _ in range(2))
      >>> plain = next(digits.train.batches(4, seeds=(0,))).x
      >>> bool((one == again).all()), bool((one == plain).all())
      (True, False)
    """
    transformations(by)  # or an error
    return _with(dataset, by)


class AugmentedSplit(Split):
    """A split whose batches are changed by transformations; made by :func:`augmented`.

    Args:
      split: whose batches they are.
      augmentation: what is done to each.
    """

    def __init__(self, split: Split, augmentation: "Augmentation") -> None:
        self.split = split
        self.augmentation = augmentation
        self.size = split.size

    @override
    def batches(
        self, batch_size: int, *, seeds: Sequence[int], start: int = 0
    ) -> Iterator[Batch]:
        plain = self.split.batches(batch_size, seeds=seeds, start=start)
        own = np.array(seeds, np.uint32)
        steps = (np.uint32(t) for t in itertools.count(start))
        if isinstance(plain, Batches):
            make = _Made(plain.make, self.augmentation)
            parts = (
                (part, own, t) for part, t in zip(plain.parts, steps, strict=False)
            )
            return Batches(make, plain.common, parts)
        return (
            _of_seeds(self.augmentation, batch, own, t)
            for batch, t in zip(plain, steps, strict=False)
        )

    @override
    def steps_per_epoch(self, batch_size: int) -> int:
        return self.split.steps_per_epoch(batch_size)

    @override
    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every sample once, without a change by chance."""
        batches = self.split.in_order(batch_size)
        certain = self.augmentation.certain
        return map(certain.of_all, batches) if certain.by else batches


def as_read(split: Split) -> Split:
    """A split before what :func:`augmented` does to it; any other as it is."""
    return split.split if isinstance(split, AugmentedSplit) else split


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a batch; equal for equal data, so that it is compiled once.

    Args:
      by: the transformations, as of :func:`augmented`.
      groups: of each group of tasks, the kind of its labels, whether they are inverse
        depths, and its ``x_axis``.
      shared_inputs: whether all groups have one input; None where there is one group.
    """

    by: str
    groups: tuple[tuple[str, bool, int | None], ...]
    shared_inputs: bool | None

    @property
    def certain(self) -> "Augmentation":
        """Without what reads a key."""
        return dataclasses.replace(self, by=of_inputs(self.by))

    def of_all(self, batch: Batch) -> Batch:
        """A batch of one seed, by a fixed key."""
        return _of_one(self, batch)

    def __call__(self, batch: Batch, key: PRNGKeyArray) -> Batch:
        """A batch of one seed."""
        if self.shared_inputs is None:
            x, (y,) = self._images(batch.x, (batch.y,), self.groups, key)
        elif self.shared_inputs:
            x, y = self._images(batch.x, batch.y, self.groups, key)
        else:
            keys = jax.random.split(key, len(self.groups))
            of_groups = zip(batch.x, batch.y, self.groups, keys, strict=True)
            found = [self._images(x, (y,), (g,), k) for x, y, g, k in of_groups]
            x, y = tuple(x for x, _ in found), tuple(y for _, (y,) in found)
        return dataclasses.replace(batch, x=x, y=y)

    def _images(
        self, x: Any, labels: tuple[Any, ...], groups: Sequence[Any], key: PRNGKeyArray
    ) -> tuple[Any, tuple[Any, ...]]:
        """The images of one input, and the labels that groups of tasks have of them."""
        stages = transformations(self.by)

        def one(image: Any, values: tuple[Any, ...], key: PRNGKeyArray) -> Any:
            of_groups = zip(values, groups, strict=True)
            own = tuple(Labels(v, kind, inverse) for v, (kind, inverse, _) in of_groups)
            sample = Sample(image, own)
            for i, stage in enumerate(stages):
                sample = stage(sample, jax.random.fold_in(key, i))
            return sample.image, tuple(each.values for each in sample.labels)

        *_, x_axis = groups[0]
        if x_axis is None:
            return jax.vmap(one, (0, 1, 0), (0, 1))(
                x, labels, jax.random.split(key, len(x))
            )
        # Of disjoint inputs, an image has the label of one task.
        alone = jax.tree.map(lambda leaf: leaf[:, None], labels)
        of_tasks = jax.vmap(jax.vmap(one, (0, 1, 0), (0, 1)))
        x, found = of_tasks(x, alone, jax.random.split(key, x.shape[:2]))
        return x, jax.tree.map(lambda leaf: leaf[:, 0], found)


@dataclasses.dataclass(frozen=True)
class _Made:
    """Augmented batches, of what plain ones are made of, the seeds and the step."""

    make: Callable[[Any, Any], Batch]
    augmentation: Augmentation

    def __call__(self, common: Any, part: Any) -> Batch:
        plain, seeds, step = part
        return _of_seeds(self.augmentation, self.make(common, plain), seeds, step)


@functools.partial(jax.jit, static_argnums=0)
def _of_seeds(augmentation: Augmentation, batch: Batch, seeds: Any, step: Any) -> Batch:
    def key_of(seed: Any) -> Any:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), TAG), step)

    return jax.vmap(augmentation)(batch, jax.vmap(key_of)(seeds))


@functools.partial(jax.jit, static_argnums=0)
def _of_one(augmentation: Augmentation, batch: Batch) -> Batch:
    return augmentation(batch, jax.random.key(0))


def _with(dataset: AnyDataset, by: str) -> AnyDataset:
    """The data set, and each group of it, with augmented splits."""
    shared = dataset.shared_inputs if isinstance(dataset, JointDataset) else None
    groups = tuple((g.kind, g.inverse_depth, g.x_axis) for g in dataset.groups)
    augmentation = Augmentation(by, groups, shared)
    parts: dict[str, Any] = {"train": AugmentedSplit(dataset.train, augmentation)}
    certain = augmentation.certain
    if certain.by:
        parts |= {
            title: AugmentedSplit(getattr(dataset, title), certain)
            for title in ("valid", "test")
        }
    if isinstance(dataset, JointDataset):
        own = tuple(_with(group, by) for group in dataset.groups)
        return dataclasses.replace(dataset, groups=own, **parts)
    _check_images(dataset, augmentation)
    if certain.by:
        parts["encoding"] = TransformedImages(encoding_of(dataset), certain.by)
    reading = {**dataset.reading, "augmented": by}
    return dataclasses.replace(dataset, reading=reading, **parts)


def _check_images(dataset: Dataset, augmentation: Augmentation) -> None:
    """Raises unless a data set has images, with labels of pixels of their size."""
    first = next(dataset.train.in_order(1))
    lead = 1 if dataset.x_axis is None else 2
    shape = getattr(first.x, "shape", ())[lead:]
    if len(shape) != 3:
        found = f"of shape {shape}" if hasattr(first.x, "shape") else "several arrays"
        raise UserError(
            f"the inputs of {dataset.name!r} are {found}: augmentation takes images "
            "[height, width, channels]"
        )
    if dataset.kind in PIXELS and first.y.shape[2:4] != shape[:2]:
        raise UserError(
            f"the {dataset.kind} labels of {dataset.name!r} are {first.y.shape[2:4]} "
            f"pixels, its images {shape[:2]}: augmentation takes labels of each pixel"
        )
    # What a transformation does not take is told before training.
    jax.eval_shape(augmentation, first, jax.random.key(0))
