"""Multi-MNIST and its two Fashion variants: two overlapping images, two classes."""

import hashlib
import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mtopt.cache_folder import cache_folder
from mtopt.data.dataset import ArraySplit, Dataset, Split
from mtopt.data.images.image_files import load_images
from mtopt.data.images.pairs import (
    Images,
    Layout,
    Pairs,
    check_counts,
    pair_up,
    shown_in_training,
    split_sources,
)
from mtopt.data.stream import ON_DEVICE_BYTES, StreamSplit
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import UserError, nearest

Variant = Literal["pareto_mtl", "sener_koltun"]

LAYOUTS = {
    "pareto_mtl": Layout(offset=8, canvas=36),
    "sener_koltun": Layout(offset=6, canvas=36, size=28),
}
COUNTS = {
    "pareto_mtl": {"train": 108_000, "valid": 12_000, "test": 20_000},
    "sener_koltun": {"train": 54_000, "valid": 6_000, "test": 10_000},
}
VALID_SHARE = 0.1
VERSION = 1  # of the drawing: raise it when other pairs come of the same options


def multi_mnist(
    *,
    folder: str | pathlib.Path | None = None,
    cache: str | pathlib.Path | None = None,
    variant: Variant = "pareto_mtl",
    num_train: int | None = None,
    num_valid: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
    on_device_bytes: int = ON_DEVICE_BYTES,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    """Two overlapping MNIST digits: name the one top left, and the one bottom right.

    ============== ============== ============== ======== ========================
    variant        first digit    second digit   image    train / valid / test
    ============== ============== ============== ======== ========================
    pareto_mtl     [0:28, 0:28]   [8:36, 8:36]   36 x 36  108,000 / 12,000 / 20,000
    sener_koltun   [0:28, 0:28]   [6:34, 6:34]   28 x 28  54,000 / 6,000 / 10,000
    ============== ============== ============== ======== ========================

    The brighter pixel shows where the digits overlap. ``sener_koltun`` draws them on
    36 x 36 pixels and takes the nearest of these for each of 28 x 28. Validation
    pairs are made of a tenth of the training digits, stratified by class, that no
    training pair shows; test pairs of the official test digits alone. Every first
    digit appears equally often (once, or twice), its partner is drawn at random.

    Sets of at most ``on_device_bytes`` are drawn in memory (1 s) and live on the
    device as uint8. Larger ones are prepared once as array_record files, and
    streamed from there.

    Args:
      folder: the four IDX files (``train-images-idx3-ubyte`` and so on, gzipped or
        not), in its subfolder ``mnist`` or directly; None for what tfds has prepared
        in its own folder as array_record. Nothing is downloaded.
      cache: where prepared files go; by default in
        ``$MTOPT_CACHE``, or in ``mtopt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. They
        are kept by a digest of the images and of all options.
      variant: the layout, as above.
      num_train: training pairs, at least 1; None for the variant's.
      num_valid: validation pairs.
      num_test: test pairs.
      seed: of the division and of the pairing.
      on_device_bytes: the most that the three splits together may take on the device.
      tasks: the names of those to keep; None keeps all.

    Returns:
      Tasks ``left`` and ``right``, 10 classes each; ``x`` is uint8 NHWC in 0..255. Its
      ``reading`` counts the pairs that show an image which training shows too.

    Raises:
      UserError: for missing or damaged files, an unknown variant, an empty split, a
        cache that cannot be written, or a name that is no task.

    References:
      Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, 2018,
      arXiv 1810.04650. Lin et al., Pareto Multi-Task Learning, 2019, arXiv 1912.12854.

    Differences from released code:
      Both train on all 60,000 digits and have no validation pairs: for their sizes
      add ``num_valid`` to ``num_train``. Pareto-MTL publishes 120,000 + 20,000
      pairs of 36 x 36 pixels as pickles, without the code that drew them: canvas and
      counts are theirs, offsets and pairs are ours.
    """
    return _multi(
        "multi_mnist",
        ("mnist", "mnist"),
        folder=folder,
        cache=cache,
        variant=variant,
        num_train=num_train,
        num_valid=num_valid,
        num_test=num_test,
        seed=seed,
        on_device_bytes=on_device_bytes,
        tasks=tasks,
    )


def _same_options(loader: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Shows the options of :func:`multi_mnist`, which the command line reads off."""
    loader.__signature__ = inspect.signature(multi_mnist)
    return loader


@_same_options
def multi_fashion(**options: Any) -> Dataset:
    """Two overlapping Fashion-MNIST images; options as for :func:`multi_mnist`.

    The IDX files are those of Fashion-MNIST, in the subfolder ``fashion_mnist`` of
    ``folder`` or directly.
    """
    return _multi("multi_fashion", ("fashion_mnist", "fashion_mnist"), **options)


@_same_options
def multi_fashion_mnist(**options: Any) -> Dataset:
    """An MNIST digit top left, a Fashion-MNIST image bottom right.

    Pareto-MTL's third set; options as for :func:`multi_mnist`. The IDX files stand in
    the subfolders ``mnist`` and ``fashion_mnist`` of ``folder``.
    """
    return _multi("multi_fashion_mnist", ("mnist", "fashion_mnist"), **options)


def _multi(
    name: str,
    sets: tuple[str, str],
    *,
    folder: str | pathlib.Path | None = None,
    cache: str | pathlib.Path | None = None,
    variant: Variant = "pareto_mtl",
    num_train: int | None = None,
    num_valid: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
    on_device_bytes: int = ON_DEVICE_BYTES,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    if variant not in LAYOUTS:
        raise UserError(f"no variant {variant!r}: {nearest(variant, list(LAYOUTS))}")
    asked = {"train": num_train, "valid": num_valid, "test": num_test}
    counts = {s: COUNTS[variant][s] if n is None else n for s, n in asked.items()}
    check_counts(**{f"num_{split}": count for split, count in counts.items()})
    apart = len(set(sets)) > 1
    sources = {
        s: load_images(s, folder, subfolder_only=apart) for s in dict.fromkeys(sets)
    }
    left, right = (sources[s] for s in sets)
    pairs = _draw(left, right, LAYOUTS[variant], counts, seed)
    if _nbytes(pairs) <= on_device_bytes:
        splits = {s: ArraySplit(part.batch(), x_axis=None) for s, part in pairs.items()}
    else:
        key = _digest(sources, VERSION, name, variant, counts, seed)
        where = pathlib.Path(cache or cache_folder()).expanduser()
        splits = _stream(pairs, where / f"{name}-{key}")
    dataset = Dataset(
        name=name,
        tasks=("left", "right"),
        kind="classification",
        outputs=10,
        x_axis=None,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        reading={"equal inputs": shown_in_training(pairs)},
    )
    return keep_tasks(dataset, tasks)


def _draw(
    left: Mapping[str, Images],
    right: Mapping[str, Images],
    layout: Layout,
    counts: Mapping[str, int],
    seed: int,
) -> dict[str, Pairs]:
    """The pairs of every split; the pixels are not drawn yet."""
    rng = np.random.default_rng(seed)
    shares = (1 - VALID_SHARE, VALID_SHARE)
    left_parts = split_sources(left["train"], shares, rng)
    right_parts = left_parts
    if right is not left:
        right_parts = split_sources(right["train"], shares, rng)
    halves = {"test": (left["test"], right["test"])}
    for part, split in enumerate(("train", "valid")):
        halves[split] = (
            left["train"][left_parts[part]],
            right["train"][right_parts[part]],
        )
    # Streams of their own: the number of test pairs does not change the training pairs.
    return {
        split: pair_up(*half, counts[split], layout, stream)
        for (split, half), stream in zip(halves.items(), rng.spawn(3), strict=True)
    }


def _nbytes(pairs: Mapping[str, Pairs]) -> int:
    return sum(
        len(part) * int(np.prod(part.layout.shape)) + part.labels.nbytes
        for part in pairs.values()
    )


def _stream(pairs: Mapping[str, Pairs], folder: pathlib.Path) -> dict[str, Split]:
    from mtopt.data.images.pairs_builder import prepared

    return {split: StreamSplit(s) for split, s in prepared(pairs, folder).items()}


def _digest(sources: Mapping[str, Mapping[str, Images]], *options: Any) -> str:
    """16 hex digits of the images themselves and of the options."""
    digest = hashlib.sha256(repr(options).encode())
    for splits in sources.values():
        for part in splits.values():
            digest.update(part.images.tobytes())
            digest.update(part.labels.tobytes())
    return digest.hexdigest()[:16]
