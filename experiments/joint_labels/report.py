"""Joint labels: what a run prints, writes and draws."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtopt.metrics import paired_interval

from ..common.drawing import COLOURS, head, save, tidy
from ..common.paired import with_interval
from ..common.sheet import UNDEFINED
from ..common.table import WIDTH, align, cells
from .config import PLAIN

REFERENCES = (PLAIN, "two_tasks")


@dataclasses.dataclass(frozen=True)
class Result:
    """All arms on all numbers of training images.

    Attributes:
      experiment: the name of the title.
      sizes: of the training sets.
      arms: what was trained on them.
      scores: test accuracies of the seeds, ``(size, arm) -> [S]``.
    """

    experiment: str
    sizes: tuple[int, ...]
    arms: tuple[str, ...]
    scores: Mapping[tuple[int, str], np.ndarray]

    def points(self, size: int) -> list[np.ndarray]:
        """The accuracies of every arm, in percent."""
        return [100 * self.scores[size, arm] for arm in self.arms]

    @property
    def references(self) -> tuple[str, ...]:
        """The arms that others are compared with."""
        return tuple(arm for arm in REFERENCES if arm in self.arms)


def table(result: Result) -> str:
    """A block for every number of images, a row an arm, without a final newline.

    Example:
      >>> scores = {(9, "two_tasks"): np.array([0.8, 0.9]),
      ...           (9, "single"): np.array([0.85, 0.96])}
      >>> found = Result("joint_labels", (9,), ("two_tasks", "single"), scores)
      >>> print(table(found))  # doctest: +ELLIPSIS
      joint_labels: test accuracy in percent, mean ± standard deviation over 2 seeds
      <BLANKLINE>
      9 training images    accuracy ↑     minus two_tasks
      ---------------------------------------------------
      two_tasks          85.00 ± 7.07                   –
      single             90.50 ± 7.78  +5.5 [-0.9, +11.9]
      <BLANKLINE>
      minus: ...
    """
    seeds = len(next(iter(result.scores.values())))
    over = "1 seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    lines = [f"{result.experiment}: test accuracy in percent, {over}", ""]
    for size in result.sizes:
        points = result.points(size)
        columns = [
            [f"{size} training images", *result.arms],
            ["accuracy ↑", *cells(points)],
        ]
        for reference in result.references:
            base = points[result.arms.index(reference)]
            columns.append(
                [
                    f"minus {reference}",
                    *(UNDEFINED if p is base else _minus(p, base) for p in points),
                ]
            )
        lines += [*align(columns), ""]
    legend = "minus: the difference in points, seed by seed [95 % interval]."
    return "\n".join([*lines, *textwrap.wrap(legend, WIDTH)])


def _minus(values: np.ndarray, base: np.ndarray) -> str:
    return with_interval(paired_interval(values, base), 1)


def summary(result: Result) -> dict[str, Any]:
    """The test accuracies of all seeds, as they go into ``results.json``."""
    return {
        "accuracy": {
            str(size): {arm: result.scores[size, arm] for arm in result.arms}
            for size in result.sizes
        }
    }


def picture(result: Result, path: str | os.PathLike[str]) -> None:
    """Draws the accuracy of every seed, one panel for each number of images."""
    count = len(result.sizes)
    figure = Figure(figsize=(1.4 + 3.2 * count, 3.2), layout="constrained")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for panel, size in zip(panels, result.sizes, strict=True):
        for row, points in enumerate(result.points(size)):
            style = {"ls": "", "marker": "o", "color": COLOURS[0]}
            seeds = np.full(len(points), row)
            panel.plot(points, seeds, ms=4, mew=0, alpha=0.45, **style)
            panel.plot(points.mean(), row, ms=9, mec="white", **style)
        panel.set_title(f"{size} training images", loc="left", fontsize=10)
        panel.set_xlabel("test accuracy in percent, one dot a seed")
        tidy(panel)
    panels[0].set_yticks(range(len(result.arms)), list(result.arms))
    panels[0].set_ylim(len(result.arms) - 0.5, -0.5)
    head(figure, f"{result.experiment}: a class and how its image was turned")
    save(
        figure,
        path,
        "Test accuracy, a row an arm and a panel a number of images: a dot a "
        "seed, the mean large.",
    )
