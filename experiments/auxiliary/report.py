"""The auxiliary task: what a run prints, writes and draws."""

import dataclasses
import os
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtopt.metrics import paired_interval

from ..common.drawing import COLOURS, head, save, tidy
from ..common.paired import with_interval
from ..common.sheet import UNDEFINED
from ..common.table import WIDTH, align, cells


@dataclasses.dataclass(frozen=True)
class Scores:
    """One method, ``[S]`` each.

    Attributes:
      accuracy: on test images, of the model that validation chose.
      reconstruction: the last training loss of the pretext.
    """

    accuracy: np.ndarray
    reconstruction: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """Scores by number of labels and method; ``experiment`` is the name of the title.

    All numbers have the same methods; the first is the labels alone.
    """

    experiment: str
    scores: dict[tuple[int, str], Scores]

    @property
    def labels(self) -> list[int]:
        """The numbers of labels, in order."""
        return list(dict.fromkeys(count for count, _ in self.scores))

    @property
    def methods(self) -> list[str]:
        """The methods, in order."""
        return list(dict.fromkeys(text for _, text in self.scores))

    def points(self, count: int, text: str) -> np.ndarray:
        """What a method gains over the first one, seed by seed, in points."""
        base = self.scores[count, self.methods[0]].accuracy
        return 100 * (self.scores[count, text].accuracy - base)


def table(result: Result) -> str:
    """A part for each number of labels, a row a method, without a final newline.

    Example:
      >>> two = [Scores(np.array([0.7, 0.8]), np.array([0.1, 0.1])),
      ...        Scores(np.array([0.72, 0.83]), np.array([0.04, 0.05]))]
      >>> found = Result("auxiliary", {(50, "alone"): two[0], (50, "mgda"): two[1]})
      >>> print(table(found))  # doctest: +ELLIPSIS
      auxiliary: test accuracy, mean ± standard deviation over 2 seeds
      <BLANKLINE>
      50 labels ... accuracy  minus the first [95 %]  masked loss
      ...
    """
    seeds = len(next(iter(result.scores.values())).accuracy)
    over = "1 seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    first, *others = result.methods
    lines = [f"{result.experiment}: test accuracy, {over}", ""]
    for count in result.labels:
        rows = [result.scores[count, text] for text in result.methods]
        columns = [
            [f"{count} labels", *result.methods],
            ["accuracy", *cells([row.accuracy for row in rows], 3)],
            [
                "minus the first [95 %]",
                UNDEFINED,
                *(_interval(result.points(count, text)) for text in others),
            ],
            ["masked loss", *(f"{row.reconstruction.mean():.4f}" for row in rows)],
        ]
        lines += [*align(columns), ""]
    legend = (
        f"minus the first: the difference to {first} in points, seed by seed, and its "
        "95 % interval. masked loss: of the last training batch."
    )
    return "\n".join([*lines, *textwrap.wrap(legend, WIDTH)])


def _interval(points: np.ndarray) -> str:
    return with_interval(paired_interval(points, np.zeros_like(points)), 1)


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and more, as they go into ``results.json``."""
    return {
        str(count): {
            text: {
                **dataclasses.asdict(result.scores[count, text]),
                "points": result.points(count, text),
            }
            for text in result.methods
        }
        for count in result.labels
    }


def picture(result: Result, path: str | os.PathLike[str]) -> None:
    """Draws what every method gains on every seed, and the intervals of the means."""
    others = result.methods[1:]
    count = len(result.labels)
    size = 3.6 + 3 * count, 1.4 + 0.35 * len(others)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    rows = np.arange(len(others))
    for k, (panel, labels) in enumerate(zip(panels, result.labels, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        panel.axvline(0, color="#555555", lw=1)
        for row, text in zip(rows, others, strict=True):
            points = result.points(labels, text)
            found = paired_interval(points, np.zeros_like(points))
            panel.plot(points, np.full(len(points), row), ".", color=colour, alpha=0.4)
            panel.plot([found.low, found.high], [row, row], color=colour, lw=3)
            panel.plot(found.mean, row, "o", color=colour)
        panel.set_xlabel("points of test accuracy")
        panel.set_title(f"{labels} labels", fontsize=9, loc="left")
        tidy(panel)
    panels[0].set_yticks(rows, others)
    panels[0].set_ylim(len(others) - 0.5, -0.5)
    head(figure, f"{result.experiment}: a reconstruction beside few labels")
    save(
        figure,
        path,
        "Gains over the first method, a row a method and a panel a number of "
        "labels: a dot a seed, bars the intervals of the means.",
    )
