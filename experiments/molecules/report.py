"""Molecules: what a run prints, writes and draws."""

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

ALONE = "alone"
PERMUTED = ", permuted"


@dataclasses.dataclass(frozen=True)
class Result:
    """The scores of all arms.

    Attributes:
      experiment: the name of the title.
      target: what was tested.
      metric: by what; higher is better.
      labelled: how many molecules the target kept, 0 for all.
      scores: the mean of its tasks, ``[seeds]``, by that number and by arm.
    """

    experiment: str
    target: str
    metric: str
    labelled: tuple[int, ...]
    scores: dict[tuple[int, str], np.ndarray]

    @property
    def arms(self) -> list[str]:
        """Their names, in the order of the table."""
        return list(dict.fromkeys(arm for _, arm in self.scores))


def molecules(count: int) -> str:
    """How many are labelled, in words."""
    return f"{count} molecules" if count else "all molecules"


def table(result: Result) -> str:
    """A row an arm, as text without a final newline.

    Example:
      >>> seeds = np.array([0.7, 0.71])
      >>> scores = {(300, ALONE): seeds, (300, "qm8"): seeds + 0.01}
      >>> found = Result("molecules", "tox21", "auc", (300,), scores)
      >>> print(table(found).splitlines()[4])
      alone  0.705 ± 0.007                     –               –
    """
    lines = []
    for count in result.labelled:
        scores = {arm: result.scores[count, arm] for arm in result.arms}
        seeds = len(scores[ALONE])
        over = "1 seed" if seeds == 1 else f"± standard deviation over {seeds} seeds"
        title = (
            f"{result.experiment}: {result.target}, {molecules(count)}, mean test "
            f"{result.metric} of its tasks, {over}"
        )
        against = [
            scores.get(f"{arm}{PERMUTED}") if arm != ALONE else None for arm in scores
        ]
        columns = [
            ["", *scores],
            [f"{result.metric} ↑", *cells(list(scores.values()))],
            [
                "minus alone",
                UNDEFINED,
                *(_minus(scores[arm], scores[ALONE]) for arm in scores if arm != ALONE),
            ],
            [
                "minus permuted",
                *(
                    UNDEFINED if other is None else _minus(scores[arm], other)
                    for arm, other in zip(scores, against, strict=True)
                ),
            ],
        ]
        lines += [*textwrap.wrap(title, WIDTH), "", *align(columns), ""]
    legend = (
        "Differences are in points, seed by seed [95 % interval]. A source gives the "
        "target something of its labels where both intervals are above 0: permuted "
        "ones may help, as whatever keeps a model from overfitting does, or harm."
    )
    return "\n".join([*lines, *textwrap.wrap(legend, WIDTH)])


def _minus(values: np.ndarray, base: np.ndarray) -> str:
    return with_interval(paired_interval(100 * values, 100 * base), 2)


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table`, as they go into ``results.json``."""
    return {
        molecules(count): {arm: result.scores[count, arm] for arm in result.arms}
        for count in result.labelled
    }


def picture(result: Result, path: str | os.PathLike[str]) -> None:
    """Draws the gain of every seed over the target alone, permuted ones hollow."""
    arms = [arm for arm in result.arms if arm != ALONE]
    size = (1.6 + 3.4 * len(result.labelled), 1.2 + 0.42 * len(arms))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(result.labelled), sharey=True, squeeze=False)[0]
    for panel, count in zip(panels, result.labelled, strict=True):
        for row, arm in enumerate(arms):
            gain = 100 * (result.scores[count, arm] - result.scores[count, ALONE])
            control = arm.endswith(PERMUTED)
            colour = COLOURS[control]
            fill = "none" if control else colour
            rows = np.full(len(gain), row)
            panel.plot(gain, rows, "o", ms=5, mfc=fill, mec=colour, alpha=0.7)
            panel.plot(gain.mean(), row, "|", ms=18, mew=2, color=colour)
        panel.axvline(0, color="#555555", ls="--", lw=1.2, zorder=1)
        tidy(panel)
        panel.set_title(molecules(count), loc="left", fontsize=10)
        panel.set_xlabel(f"test {result.metric} minus alone, points")
    panels[0].set_yticks(range(len(arms)), arms)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    head(figure, f"{result.experiment}: what a source gives {result.target}")
    save(
        figure,
        path,
        "Gains over the target alone, a row a source and a panel a number of "
        "molecules: a dot a seed, hollow where labels were permuted.",
    )
