"""Pairs of overlapping images, as in Multi-MNIST and its variants."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.division import SPLITS, adjoined
from mtopt.data.equal_rows import equal_rows
from mtopt.errors import UserError


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled grey images.

    Args:
      images: ``[n, height, width]``.
      labels: int classes, ``[n]``.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray) -> "Images":
        return Images(self.images[index], self.labels[index])


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where two square images stand on one canvas.

    Args:
      offset: pixels by which the second image stands further down and right.
      canvas: pixels of the canvas, width and height.
      size: what the canvas is resized to, by the nearest pixel; None leaves it.
    """

    offset: int
    canvas: int
    size: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        side = self.size or self.canvas
        return (side, side, 1)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Which two images stand on each canvas, and how.

    Args:
      left: the images that stand top left.
      right: the images that stand bottom right.
      left_index: which of ``left``, ``[num]``.
      right_index: which of ``right``, ``[num]``.
      layout: where they stand.
    """

    left: Images
    right: Images
    left_index: np.ndarray
    right_index: np.ndarray
    layout: Layout

    def __len__(self) -> int:
        return len(self.left_index)

    @property
    def labels(self) -> np.ndarray:
        """Int32 classes ``[2, num]``: left, right, the sorted task names."""
        left = self.left.labels[self.left_index]
        return np.stack([left, self.right.labels[self.right_index]]).astype(np.int32)

    def draw(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The pairs from ``start`` to ``stop`` as images, see :func:`overlay`."""
        left = self.left.images[self.left_index[start:stop]]
        right = self.right.images[self.right_index[start:stop]]
        return overlay(left, right, self.layout)

    def batch(self) -> Batch:
        """All pairs as one batch with the tasks left and right."""
        return Batch(self.draw(), self.labels, np.ones((2, len(self)), bool))


def overlay(left: np.ndarray, right: np.ndarray, layout: Layout) -> np.ndarray:
    """Two images on one canvas, the brighter pixel showing where both have ink.

    Args:
      left: images ``[n, side, side]``, drawn at the top left corner.
      right: images of the same shape, drawn ``layout.offset`` pixels further down and
        right.
      layout: the canvas, at least ``side + offset`` pixels.

    Returns:
      ``[n, height, width, 1]``, of the dtype of ``left``.

    Example:
      >>> left, right = np.full((1, 2, 2), 1), np.full((1, 2, 2), 5)
      >>> overlay(left, right, Layout(offset=1, canvas=3))[0, ..., 0]
      array([[1, 1, 0],
             [1, 5, 5],
             [0, 5, 5]])
    """
    n, side, _ = left.shape
    canvas = np.zeros((n, layout.canvas, layout.canvas), left.dtype)
    canvas[:, :side, :side] = left
    place = slice(layout.offset, layout.offset + side)
    canvas[:, place, place] = np.maximum(canvas[:, place, place], right)
    if layout.size is not None:
        pixel = (np.arange(layout.size) + 0.5) * layout.canvas / layout.size
        nearest = pixel.astype(int)
        canvas = canvas[:, nearest[:, None], nearest]
    return canvas[..., None]


def pair_up(
    left: Images, right: Images, num: int, layout: Layout, rng: np.random.Generator
) -> Pairs:
    """Pairs in which all left images appear equally often, with random partners.

    Args:
      left: the images for top left.
      right: the images for bottom right, possibly the same.
      num: the number of pairs; no left image appears more than once more often than
        another.
      layout: where the two stand.
      rng: the randomness.

    Returns:
      The pairs, in random order. The two labels of a pair are independent.
    """
    rounds = [rng.permutation(len(left)) for _ in range(-(-num // len(left)))]
    partners = rng.integers(len(right), size=num)
    return Pairs(left, right, np.concatenate(rounds)[:num], partners, layout)


def split_sources(
    source: Images, fractions: Sequence[float], rng: np.random.Generator
) -> list[np.ndarray]:
    """Divides images into parts with the same share of every class.

    Images are divided before they are paired: no image of one part can then be seen
    in another, not even beside a new partner. Nor can its copy: equal images of a class
    stay together.

    Args:
      source: the images.
      fractions: the share of each part, summing to 1.
      rng: the randomness.

    Returns:
      The sorted indices of each part; together they are ``0 .. n - 1``.

    Raises:
      UserError: where a part would have no image of any class.
    """
    labels, equal = source.labels, equal_rows(source.images)
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    cuts = np.cumsum(fractions)[:-1]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        bunches = adjoined(members, equal)
        starts = np.cumsum([0, *map(len, bunches)])
        ends = np.round(cuts * len(members))
        ends = starts[np.abs(starts[:, None] - ends[None]).argmin(axis=0)]
        pieces = np.split(np.concatenate(bunches), ends)
        for part, chosen in zip(parts, pieces, strict=True):
            part.append(chosen)
    whole = [np.sort(np.concatenate(part)) for part in parts]
    if not all(len(part) for part in whole):
        raise UserError(
            f"{len(labels)} images of {len(np.unique(labels))} classes are too few to "
            f"divide into shares of {tuple(fractions)}: give more images"
        )
    return whole


def shown_in_training(parts: Mapping[str, Pairs]) -> dict[str, int]:
    """How many pairs of each later part show an image that training shows too.

    Of drawn parts there are none; of given ones, as the test digits of MNIST, it is the
    count that a run prints and stores.

    Args:
      parts: the pairs of ``train`` and of the later parts.

    Example:
      >>> which = np.arange(3)
      >>> image = Images(which[:, None, None] * np.ones((3, 2, 2)), which)
      >>> of = lambda *index: Pairs(
      ...     image, image, np.array(index), np.array(index), Layout(1, 3))
      >>> shown_in_training({"train": of(0, 1), "test": of(1, 2, 2)})
      {'test': 1}
    """
    halves = [
        (half.images, index)
        for pairs in parts.values()
        for half, index in (
            (pairs.left, pairs.left_index),
            (pairs.right, pairs.right_index),
        )
    ]
    rows = equal_rows(np.concatenate([images for images, _ in halves]))
    each = np.split(rows, np.cumsum([len(images) for images, _ in halves])[:-1])
    shown = [own[index] for own, (_, index) in zip(each, halves, strict=True)]
    lefts, rights = (dict(zip(parts, shown[side::2], strict=True)) for side in (0, 1))
    trained = np.concatenate([lefts["train"], rights["train"]])
    return {
        part: int(
            (np.isin(lefts[part], trained) | np.isin(rights[part], trained)).sum()
        )
        for part in SPLITS
        if part != "train" and part in parts
    }


def check_counts(**counts: int) -> None:
    """Raises unless every number of pairs is at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} is {count}: expected at least 1 pair")
