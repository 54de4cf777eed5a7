"""Labels of pixels as the models of a run predict them, beside the true ones."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import mtopt
from mtopt.data.augment.augmented import as_read
from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.pixels import DEPTH, NORMALS, PIXELS, SEGMENTATION, has_label

from .drawing import INK, head, save
from .results import Comparison
from .standing import ranked

IMAGES = 6
MOST_METHODS = 8
NOTHING = (0.0, 0.0, 0.0)


class Maps(NamedTuple):
    """A task on some test images.

    Attributes:
      images: the inputs, ``[n, h, w, c]``.
      rows: what to call a row, and its labels ``[n, h, w, ...]``, the true ones first.
    """

    images: np.ndarray
    rows: dict[str, np.ndarray]


def pixel_pictures(
    folder: pathlib.Path, dataset: Dataset | JointDataset, parts: Sequence[Comparison]
) -> dict[str, Callable[[pathlib.Path], None]]:
    """File name to what draws the picture there, one a task whose labels are of pixels.

    Args:
      folder: of the run, with the models that were chosen.
      dataset: that they were trained on.
      parts: its results; of more than 8 methods those that rank best are drawn.
    """
    return {
        f"predicted-{group.tasks[k]}.png": functools.partial(
            _draw, folder, dataset, parts, group, k
        )
        for group in dataset.groups
        if group.kind in PIXELS and group.x_axis is None
        for k in range(len(group.tasks))
    }


def _draw(
    folder: pathlib.Path,
    dataset: Dataset | JointDataset,
    parts: Sequence[Comparison],
    group: Dataset,
    k: int,
    path: pathlib.Path,
) -> None:
    maps = _maps(folder, dataset, parts, group, k)
    paint = painter(group.kind, group.outputs, next(iter(maps.rows.values())))
    rows = [
        ("image", _shown(maps.images)),
        *((n, paint(y)) for n, y in maps.rows.items()),
    ]
    count = len(maps.images)
    figure = Figure((1.3 * count + 1.6, 1.3 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, pictures) in zip(grid, rows, strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture, interpolation="nearest", vmin=0, vmax=1, cmap="gray")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(
            name, rotation=0, ha="right", va="center", fontsize=9, color=INK
        )
    task = group.tasks[k]
    head(figure, f"{parts[0].experiment}: {task} of test images, and as predicted")
    save(figure, path, f"{task} of {count} test images: the truth, and each method")


def _maps(
    folder: pathlib.Path,
    dataset: Dataset | JointDataset,
    parts: Sequence[Comparison],
    group: Dataset,
    k: int,
) -> Maps:
    """The truth, then what the first seed of each method predicts."""
    batch = next(as_read(dataset.test).in_order(IMAGES))
    several = isinstance(batch.y, tuple)
    own = batch.y[dataset.groups.index(group)] if several else batch.y
    rows = {"truth": np.asarray(own[k])}
    raw = np.asarray(batch.x)
    names = [parts[0].baseline.name] if parts[0].baseline else []
    names += [method.name for method in ranked(parts)[0].methods[:MOST_METHODS]]
    for name in names:
        model = mtopt.load(folder, method=name)
        rows[name] = model.predict(raw)[group.tasks[k]]
    return Maps(raw, rows)


def painter(
    kind: str, outputs: int, truth: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What makes colours of labels, black where there is none.

    Args:
      kind: of the labels.
      outputs: the number of classes.
      truth: the true labels, whose range of depths all are drawn in.
    """
    if kind == SEGMENTATION:
        colours = mpl.colormaps["tab20"].resampled(max(outputs, 2))
        return lambda y: _known(colours(np.maximum(y, 0))[..., :3], y, kind)
    if kind == NORMALS:
        return lambda y: _known((y + 1) / 2, y, kind)
    known = truth[has_label(truth, DEPTH)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    shades = mpl.colormaps["viridis"]
    span = max(high - low, 1e-12)
    return lambda y: _known(shades((y - low) / span)[..., :3], y, kind)


def _known(colours: np.ndarray, labels: np.ndarray, kind: str) -> np.ndarray:
    seen = np.asarray(has_label(labels, kind))
    return np.where(seen[..., None], np.clip(colours, 0, 1), NOTHING)


def _shown(images: Any) -> np.ndarray:
    """Inputs as matplotlib takes them, from 0 to 1 each."""
    images = np.asarray(jax.device_get(images), np.float64)
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = np.ptp(images, axis=(1, 2, 3), keepdims=True)
    shown = (images - low) / np.maximum(span, 1e-12)
    return shown[..., :3] if shown.shape[-1] >= 3 else shown[..., 0]
