"""How the tasks' gradients stand to one another over training, from the records."""

import os
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtopt.metrics import mean_and_spread
from mtopt.training.loop import read_per_model, read_per_task

from .drawing import INK, head, head_and_legend, save, styled, tidy
from .over_time import History, recorded
from .results import Comparison
from .standing import ranked

MAX_ROWS = 6
MAX_NAMED = 24
MAX_WRITTEN = 6

PANELS = {
    "condition": "condition of the Gramian",
    "rank": "independent gradients",
    "conflict_share": "share of conflicting pairs",
}
"""Numbers of every model, and what stands above them."""


def diagnosed(folder: pathlib.Path, parts: Sequence[Comparison]) -> bool:
    """Whether a run has records of its tasks' gradients, and two tasks at least.

    Args:
      folder: of the run.
      parts: its comparisons.
    """
    several = sum(len(part.task_names) for part in parts) > 1
    return several and bool(recorded(folder, parts, "cosine", read_per_task))


def conflicts(
    folder: pathlib.Path,
    parts: Sequence[Comparison],
    path: str | os.PathLike[str],
) -> None:
    """Draws the cosines of the tasks' gradients early, midway and late in training.

    A row a method, the best ones first; means over seeds. Up to 24 tasks have their
    names, up to 6 their numbers.

    Args:
      folder: of the run, which is :func:`diagnosed`.
      parts: its comparisons.
      path: the PNG file to write.
    """
    every = recorded(folder, ranked(parts), "cosine", read_per_task)
    shown = every[:MAX_ROWS]
    tasks = len(shown[0].tasks)
    side = float(np.clip(0.34 * tasks + 0.9, 2.4, 5.0))
    size = (3 * side + 2.4, len(shown) * (side + 0.35) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(shown), 3, squeeze=False, sharex=True, sharey=True)
    scale = ScalarMappable(Normalize(-1, 1), "RdBu")
    for row, history in zip(panels, shown, strict=True):
        name = textwrap.fill(history.method, 40).replace("$", r"\$")
        for column, (axes, t) in enumerate(zip(row, _moments(history), strict=True)):
            # Of models that stopped there is nothing.
            mean = mean_and_spread(history.values[:, t], axis=0)[0]
            axes.imshow(mean, norm=scale.norm, cmap=scale.cmap)
            _written(axes, mean)
            _named(axes, history.tasks)
            above = f"step {history.step[t]}"
            above = above if column else f"{name}\n{above}"
            axes.set_title(above, fontsize=9, color=INK, loc="left")
    figure.colorbar(scale, ax=panels, shrink=0.6, label="cosine of the gradients")
    more = f", the best {MAX_ROWS} of {len(every)} methods"
    told = more if len(every) > MAX_ROWS else ""
    title = f"{parts[0].experiment}: agreement of the tasks in training{told}"
    head(figure, title.replace("$", r"\$"))
    save(
        figure,
        path,
        "Cosines between the gradients of every two tasks, a row a method, early, "
        "midway and late in training: blue where they agree, red where they conflict.",
    )


def agreement(
    folder: pathlib.Path,
    parts: Sequence[Comparison],
    path: str | os.PathLike[str],
) -> None:
    """Draws condition, rank and share of conflicting pairs against the step.

    A line a method, the mean over seeds; the condition has a gap where rounding hides
    it, as it does for gradients that depend on one another.

    Args:
      folder: of the run, which is :func:`diagnosed`.
      parts: its comparisons.
      path: the PNG file to write.
    """
    first, *_ = ranked(parts)
    styles = {result.name: (result, style) for result, style in styled(first)}
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    drawn = {}
    every = figure.subplots(1, len(PANELS), sharex=True)
    for axes, (number, title) in zip(every, PANELS.items(), strict=True):
        for history in recorded(folder, [first], number, read_per_model):
            _, style = drawn.setdefault(history.method, styles[history.method])
            mean = mean_and_spread(history.values, axis=0)[0]
            axes.plot(history.step, mean, lw=1.4, ms=4, markevery=[-1], **style)
        tidy(axes)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel("step")
    every[0].set_yscale("log")
    every[1].set_ylim(bottom=0)
    every[1].yaxis.set_major_locator(MaxNLocator(integer=True))
    every[2].set_ylim(-0.02, 1.02)
    what = "how the tasks' gradients depend on one another"
    head_and_legend(figure, f"{first.experiment}: {what}", list(drawn.values()))
    save(
        figure,
        path,
        "The condition of the Gramian of the tasks' gradients, how many of them are "
        "independent, and the share of conflicting pairs, against the step.",
    )


def _moments(history: History) -> list[int]:
    """The first record, the middle one and the last."""
    last = len(history.step) - 1
    return [0, last // 2, last]


def _written(axes: Axes, matrix: np.ndarray) -> None:
    """The numbers of few tasks."""
    if len(matrix) > MAX_WRITTEN:
        return
    for i, j in np.ndindex(*matrix.shape):
        colour = "white" if abs(matrix[i, j]) > 0.6 else INK
        text = f"{matrix[i, j]:+.2f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)


def _named(axes: Axes, tasks: Sequence[str]) -> None:
    """The names at both sides, of many tasks none."""
    axes.tick_params(labelsize=8, length=0)
    if len(tasks) > MAX_NAMED:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names = [textwrap.shorten(task.replace("$", r"\$"), 18) for task in tasks]
    axes.set_xticks(
        range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(names)), names)
