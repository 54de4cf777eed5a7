"""Outlier tasks: what a run prints, writes and draws."""

import dataclasses
import os
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.metrics import mean_and_spread

from ..common.drawing import COLOURS, INK, head, make_room, save, tidy
from ..common.looks import late_falls
from ..common.results import Comparison, MethodResult
from ..common.table import WIDTH, align, cells

PLAIN, WEIGHTED, GATE = "plain", "outlier_weighted", "gate"
NONE = "none"
LOGGED = {WEIGHTED: "task_weights", GATE: "outlier_logit"}
MAX_COLUMNS = 4  # aggregators whose weights are drawn
GREY = "#777777"
REGULAR, OUTLIER = COLOURS[:2]


@dataclasses.dataclass(frozen=True)
class TaskHistory:
    """One number of every task over time: ``step [T]`` and ``values [S, T, K]``."""

    step: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train, with every aggregator.

    Attributes:
      regular: True for the tasks that are not planted, ``[K]``.
      accuracy: on test data, ``[methods, seeds, K]``.
      curves: of every method, what its looks at validation data saw; see
        :class:`experiments.common.results.MethodResult`.
      logged: of every method, weights or logits; none where the arm has neither.
    """

    regular: np.ndarray
    accuracy: np.ndarray
    curves: list[dict[str, np.ndarray]]
    logged: list[TaskHistory]

    @property
    def scores(self) -> np.ndarray:
        """The mean over the regular tasks, ``[methods, seeds]``."""
        return self.accuracy[..., self.regular].mean(axis=-1)


@dataclasses.dataclass(frozen=True)
class Outliers:
    """All arms of all plants.

    Attributes:
      experiment: its name, for titles.
      methods: the aggregators.
      plants: what outliers did.
      steps: of every run.
      arms: (plant, arm) to what came of it.
    """

    experiment: str
    methods: tuple[str, ...]
    plants: tuple[str, ...]
    steps: int
    arms: dict[tuple[str, str], Arm]


def table(found: Outliers) -> str:
    """The results as text: a block for every plant, one without."""
    seeds = found.arms[NONE, PLAIN].accuracy.shape[1]
    spread = "mean" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    what = f"{found.experiment}: test accuracy of the regular tasks, {spread}"
    lines = [*textwrap.wrap(what, WIDTH), ""]
    for plant in found.plants:
        outliers = (~found.arms[plant, PLAIN].regular).sum()
        columns = {
            "without": found.arms[NONE, PLAIN].scores,
            "with them": found.arms[plant, PLAIN].scores,
            "outlier_weighted": found.arms[plant, WEIGHTED].scores,
            "gate": found.arms[plant, GATE].scores,
        }
        kept = found.arms[plant, WEIGHTED]
        gated = found.arms[plant, GATE]
        block = [
            [f"{outliers} {plant}", *found.methods],
            *([name, *cells(list(column))] for name, column in columns.items()),
            ["weights", *(_weights(one, kept.regular) for one in kept.logged)],
            ["told", *(_seeds_told_apart(one, gated.regular) for one in gated.logged)],
        ]
        lines += [*align(block), ""]
    kept = found.arms[NONE, WEIGHTED]
    block = [
        ["no outlier", *found.methods],
        ["plain", *cells(list(found.arms[NONE, PLAIN].scores))],
        ["outlier_weighted", *cells(list(kept.scores))],
        ["weights", *(_weights(one, kept.regular) for one in kept.logged)],
    ]
    legend = (
        "without: the regular tasks alone; with them: all tasks, the same aggregator.",
        "weights: at the end, the largest of an outlier / the smallest of a regular "
        "task; outlier_weighted.",
        "told: seeds in which the gate has every outlier on one side, every regular "
        "task on the other.",
    )
    lines += [*align(block), ""]
    for text in legend:
        lines += textwrap.wrap(text, WIDTH, subsequent_indent="     ")
    lines += ["", *(textwrap.fill(line, WIDTH) for line in falls(found))]
    return "\n".join(lines)


def falls(found: Outliers) -> list[str]:
    """What regular tasks lost late in training; see :func:`late_falls`.

    One that was planted may fall: it shall be let go.
    """
    methods = []
    for (plant, kind), arm in found.arms.items():
        for name, accuracy, curves in zip(
            found.methods, arm.accuracy, arm.curves, strict=True
        ):
            looks = {**curves, "validation": curves["validation"][..., arm.regular]}
            test = accuracy[:, arm.regular, None]
            methods.append(MethodResult(f"{plant}, {kind}: {name}", test, looks))
    tasks = tuple(f"regular{k}" for k in range(found.arms[NONE, PLAIN].regular.sum()))
    metric = ("accuracy",), (True,)
    return late_falls(Comparison(found.experiment, tasks, *metric, None, methods))


def _weights(logged: TaskHistory, regular: np.ndarray) -> str:
    """The extremes over seeds of the last task weights."""
    last = logged.values[:, -1]
    smallest = f"{last[:, regular].min():.2f}"
    if regular.all():
        return smallest
    return f"{last[:, ~regular].max():.2f} / {smallest}"


def _seeds_told_apart(logged: TaskHistory, regular: np.ndarray) -> str:
    """In how many seeds the gate tells the groups apart."""
    apart = separated(logged.values[:, -1], regular)
    return f"{apart.sum()} of {len(apart)}"


def separated(logits: np.ndarray, regular: np.ndarray) -> np.ndarray:
    """Per seed, whether a threshold parts regular tasks and outliers, either way up.

    Example:
      >>> separated(np.array([[2., -1., 0.], [0., 1., -1.]]), np.array([False, 1, 1]))
      array([ True, False])
    """
    regular = np.asarray(regular, bool)
    one, other = logits[:, regular], logits[:, ~regular]
    return (one.max(1) < other.min(1)) | (other.max(1) < one.min(1))


def summary(found: Outliers) -> dict[str, Any]:
    """The numbers of :func:`table` and more, as they go into ``results.json``."""
    return {
        "methods": list(found.methods),
        "arms": [
            {
                "plant": plant,
                "arm": kind,
                "regular": arm.regular,
                "accuracy": arm.accuracy,
                "last": [one.values[:, -1] for one in arm.logged],
            }
            for (plant, kind), arm in found.arms.items()
        ],
    }


def scores(found: Outliers, path: str | os.PathLike[str]) -> None:
    """Draws the accuracy of regular tasks: a panel a plant, a row an aggregator.

    A grey bar is what training without the outliers reaches, mean and deviation.
    """
    rows = np.arange(len(found.methods))
    size = (1.4 + 3.2 * len(found.plants), 1.3 + 0.5 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(found.plants), squeeze=False, sharey=True)[0]
    drawn = ((PLAIN, "with them", "o"), (WEIGHTED, WEIGHTED, "D"), (GATE, GATE, "^"))
    for panel, plant in zip(panels, found.plants, strict=True):
        mean, spread = mean_and_spread(found.arms[NONE, PLAIN].scores, axis=1)
        for row in rows:
            panel.fill_betweenx(
                row + np.array([-0.4, 0.4]),
                mean[row] - spread[row],
                mean[row] + spread[row],
                color="#dddddd",
                lw=0,
            )
            panel.plot([mean[row]] * 2, row + np.array([-0.4, 0.4]), color=GREY, lw=1)
        for i, (kind, _, marker) in enumerate(drawn):
            mean, spread = mean_and_spread(found.arms[plant, kind].scores, axis=1)
            style = {"color": COLOURS[i], "marker": marker, "ms": 7, "mec": "white"}
            panel.errorbar(mean, rows + 0.22 * (i - 1), xerr=spread, ls="", **style)
        tidy(panel)
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=4)
        panel.set_title(plant, loc="left", fontsize=10, color=INK)
        panel.set_xlabel("test accuracy of regular tasks")
    make_room(figure, found.methods, usual=12)
    panels[0].set_yticks(rows, found.methods)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    head(figure, f"{found.experiment}: what outliers cost, and what finding them gives")
    handles = [Line2D([], [], color=GREY, lw=1, label="without them")]
    handles += [
        Line2D([], [], color=COLOURS[i], marker=marker, ls="", ms=7, label=label)
        for i, (_, label, marker) in enumerate(drawn)
    ]
    place = {"loc": "outside lower left", "ncols": len(handles)}
    figure.legend(handles=handles, frameon=False, fontsize=9, **place)
    save(
        figure,
        path,
        "Accuracy of the regular tasks, a panel a plant and a row an aggregator; "
        "a grey bar is training without the outliers.",
    )


def over_time(found: Outliers, kind: str, path: str | os.PathLike[str]) -> None:
    """Draws task weights, or what the gate gives to a branch: a panel a plant and run.

    Every line is a task of a seed. Which branch of a gate outliers take is open: it is
    turned so that the larger group is below.
    """
    few = found.methods[:MAX_COLUMNS]
    size = (1 + 2.6 * len(few), 1 + 1.8 * len(found.plants))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(
        len(found.plants), len(few), squeeze=False, sharex=True, sharey=True
    )
    for line, plant in zip(panels, found.plants, strict=True):
        arm = found.arms[plant, kind]
        for panel, method, logged in zip(line, few, arm.logged, strict=False):
            values = (
                logged.values
                if kind == WEIGHTED
                else _minority_branch_share(logged.values)
            )
            for regular, colour in ((True, REGULAR), (False, OUTLIER)):
                tasks = np.moveaxis(values[..., arm.regular == regular], 1, 0)
                panel.plot(
                    logged.step,
                    tasks.reshape(len(logged.step), -1),
                    color=colour,
                    lw=0.9,
                    alpha=0.6,
                )
            tidy(panel)
            panel.set_ylim(-0.04, 1.04)
            if plant == found.plants[0]:
                panel.set_title(method, loc="left", fontsize=10, color=INK)
            if plant == found.plants[-1]:
                panel.set_xlabel("step")
            if method == few[0]:
                panel.set_ylabel(plant)
    what = {WEIGHTED: "task weights", GATE: "share of the second branch"}[kind]
    head(figure, f"{found.experiment}: {what} over {found.steps:,} steps, all seeds")
    handles = [
        Line2D([], [], color=colour, lw=1.6, label=label)
        for colour, label in ((REGULAR, "regular"), (OUTLIER, "planted outlier"))
    ]
    place = {"loc": "outside lower left", "ncols": 2}
    figure.legend(handles=handles, frameon=False, fontsize=9, **place)
    save(
        figure,
        path,
        "What every task is given over training, a panel a plant and method, a "
        "line a task and seed; planted outliers in a colour of their own.",
    )


def _minority_branch_share(logits: np.ndarray) -> np.ndarray:
    """Sigma of the logits ``[S, T, K]``, per seed with most tasks low at the end."""
    share = 1 / (1 + np.exp(-logits))
    high = np.median(share[:, -1], axis=-1) > 0.5
    return np.where(high[:, None, None], 1 - share, share)
