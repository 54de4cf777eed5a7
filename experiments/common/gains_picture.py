"""What methods gain over one of them, a panel a data set."""

import math
import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import COLOURS, INK, SINGLE_TASK, better, head, save, tidy
from .literal import literal_name
from .over_sets import LOST, WON, OverSets

COLUMNS = 4
COLOUR = {WON: COLOURS[2], LOST: COLOURS[1], "": SINGLE_TASK}
REACH = 1.15
"""How far an axis reaches, in units of the largest mean gain; intervals may go on."""


def gains(found: OverSets, path: str | os.PathLike[str]) -> None:
    """Draws the mean gain of every method on every set, with its interval.

    Colours are those of the sign in the table: better, worse, or not told from 0. An
    interval that is wider than the panel leaves it.

    Args:
      found: the gains.
      path: the PNG file to write.
    """
    columns = min(COLUMNS, len(found.sets))
    rows = math.ceil(len(found.sets) / columns)
    height = 0.9 + 0.2 * len(found.methods)
    figure = Figure(figsize=(2.9 + 2.4 * columns, 0.7 + height * rows))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(found.sets) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, found.sets, strict=False):
        _panel(axes, found, name)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(found.methods)), map(literal_name, found.methods))
    better(grid[0, 0], True, diagonal=False)
    reference = literal_name(found.reference)
    head(
        figure,
        f"gain over {reference}, %, mean of tasks, with 95 % intervals over seeds",
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    save(
        figure,
        path,
        f"What {len(found.methods)} methods gain over {found.reference} on "
        f"{len(found.sets)} data sets, a panel each: green is better, orange worse, "
        "grey not told apart.",
    )


def _panel(axes: Axes, found: OverSets, name: str) -> None:
    """One set: a row a method, the first on top."""
    each = [found.found[method, name] for method in found.methods]
    for row, (method, one) in enumerate(zip(found.methods, each, strict=True)):
        colour = COLOUR[found.sign(method, name)]
        axes.plot([one.low, one.high], [row, row], color=colour, lw=1.6)
        axes.plot(one.mean, row, "o", ms=5, color=colour, mec="white", mew=0.6)
    means = np.array([one.mean for one in each])
    most = float(np.max(np.abs(means[np.isfinite(means)]), initial=0.1))
    axes.axvline(0, color=INK, lw=0.9)
    axes.set(xlim=(-REACH * most, REACH * most), ylim=(len(each) - 0.5, -0.5))
    tidy(axes)
    axes.set_title(literal_name(name), fontsize=9.5, color=INK, loc="left")
