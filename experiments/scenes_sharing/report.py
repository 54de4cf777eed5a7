"""What tasks of scenes gain from each other: what a run prints, writes and draws."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtopt.metrics import Metric, Paired

from ..common.against import MEANING, against, against_text
from ..common.drawing import COLOURS, INK, head, save, tidy
from ..common.literal import literal_name
from ..common.sheet import UNDEFINED, Block, Cell, Column, Sheet, seeds_column
from ..common.table import to_text

ALONE = "alone"
PERMUTED = ", others permuted"


@dataclasses.dataclass(frozen=True)
class Result:
    """All scores.

    Attributes:
      experiment: the name of the title.
      images: task to how many training images it has, all labelled.
      metrics: task to what it is scored by.
      scores: of every seed, ``[S]``, by task and arm: :data:`ALONE`, each method, and
        each with :data:`PERMUTED` behind it.
    """

    experiment: str
    images: Mapping[str, int]
    metrics: Mapping[str, Metric]
    scores: Mapping[tuple[str, str], np.ndarray]

    @property
    def arms(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(arm for _, arm in self.scores))

    def against(self, task: str, arm: str) -> dict[str, Paired]:
        """How an arm stands on a task to being alone, and to its own control."""
        others = [other for other in (ALONE, f"{arm}{PERMUTED}") if other in self.arms]
        return {
            other: against(
                self.scores[task, arm], self.scores[task, other], self.metrics[task]
            )
            for other in others
            if other != arm
        }


def metric_name(metric: Metric) -> str:
    """What a score is, and which way is better."""
    return f"{metric.name} {'↑' if metric.higher_is_better else '↓'}"


def table(result: Result) -> str:
    """A block a task, a row an arm, without a final newline.

    Example:
      >>> from mtopt.metrics import metrics_of
      >>> error = {"depth": metrics_of("depth")[0]}
      >>> arms = {ALONE: 0.4, "mgda": 0.3, "mgda, others permuted": 0.5}
      >>> found = Result("scenes_sharing", {"depth": 100}, error, {
      ...     ("depth", arm): np.array([own, own + 0.1]) for arm, own in arms.items()})
      >>> print(table(found))  # doctest: +ELLIPSIS
      depth: 100 labelled images, 2 seeds
      <BLANKLINE>
             ...abs_err ↓ ...
    """
    blocks = [_block(result, task) for task in result.metrics]
    legend = [
        f"vs: {MEANING}",
        "Tasks share something where a method gains on both: beside permuted labels of "
        "the others there is nothing to share, and yet joint training may help, as "
        "whatever keeps a model from overfitting does, or harm.",
    ]
    return to_text(Sheet(blocks, legend, {}))


def _block(result: Result, task: str) -> Block:
    metric, arms = result.metrics[task], result.arms
    rows = [result.scores[task, arm] for arm in arms]
    alone, permuted = [], []
    for arm in arms:
        found = result.against(task, arm)
        texts = {other: against_text(each, metric) for other, each in found.items()}
        alone.append(Cell(texts.get(ALONE, UNDEFINED)))
        permuted.append(Cell(texts.get(f"{arm}{PERMUTED}", UNDEFINED)))
    columns = [
        seeds_column(metric_name(metric), rows),
        Column("vs alone", alone),
        Column("vs permuted", permuted),
    ]
    seeds, images = len(rows[0]), result.images[task]
    title = f"{task}: {images} labelled images, {seeds} seed{'s' * (seeds > 1)}"
    return Block(title, tuple(arms), [columns])


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and more, as they go into ``results.json``."""
    return {
        task: {
            "metric": metric.name,
            "labelled_images": result.images[task],
            "arms": {
                arm: {
                    "values": result.scores[task, arm],
                    "against": {
                        other: found._asdict()
                        for other, found in result.against(task, arm).items()
                    },
                }
                for arm in result.arms
            },
        }
        for task, metric in result.metrics.items()
    }


def picture(result: Result, path: str | os.PathLike[str]) -> None:
    """Draws how every arm stands to the task alone, a panel a task."""
    arms = [arm for arm in result.arms if arm != ALONE]
    size = 2.4 + 3 * len(result.metrics), 1.6 + 0.4 * len(arms)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(result.metrics), sharey=True, squeeze=False)[0]
    for panel, (task, metric) in zip(panels, result.metrics.items(), strict=True):
        _panel(panel, result, task, arms)
        panel.axvline(0 if metric.higher_is_better else 1, color=INK, lw=1, zorder=1)
        what = "points of" if metric.higher_is_better else "ratio of"
        panel.set_xlabel(f"{what} test {metric_name(metric)}", fontsize=9)
        panel.set_title(literal_name(task), fontsize=10, loc="left")
        tidy(panel)
    panels[0].set_yticks(range(len(arms)), map(literal_name, arms))
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    head(figure, literal_name(f"{result.experiment}: against each task alone"))
    save(
        figure,
        path,
        "How every arm stands to each task alone: a panel a task, a row an arm, hollow "
        "where the labels of the other tasks are permuted, bars 95 % intervals.",
    )


def _panel(axes: Axes, result: Result, task: str, arms: list[str]) -> None:
    for row, arm in enumerate(arms):
        found = result.against(task, arm)[ALONE]
        control = arm.endswith(PERMUTED)
        colour = COLOURS[control]
        axes.plot([found.low, found.high], [row, row], color=colour, lw=2)
        fill = "white" if control else colour
        axes.plot(found.mean, row, "o", ms=7, mfc=fill, mec=colour)
