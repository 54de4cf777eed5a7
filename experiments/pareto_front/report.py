"""Fronts of two losses as a table and a picture."""

import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.metrics import hypervolume, mean_and_spread, ranks

from ..common.drawing import COLOURS, INK, head, save
from ..common.literal import literal_name

COLOUR_MAP = "cividis"
GREY = "#555555"
ONE = "one model, any preference"
MARKERS = ("D", "s", "^", "v", "P", "X")
LEGEND = """\
Hypervolume: the area of the pairs of losses that some point is at least as good as,
up to ({r:g}, {r:g}); larger is better. Same {n}: at the preferences of the {n} fixed
weightings alone. Order: Spearman's correlation of a task's preference with its loss,
mean of the tasks; -1 where preferring a task always lowers its loss. Lowest: the loss
of a task at the best preference for it. Parameters are those of one seed, the rest
means (and standard deviations) over seeds."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Models that make a front together, or the single one that does.

    Attributes:
      preferences: of the points, ``[N, 2]``; of no meaning for N = 1.
      scores: test loss and primary metric, ``[S, N, 2, 2]``: seeds, points, tasks.
      models: how many were trained per seed.
      parameters: of all these together.
      traced: True for one model that sees the preference.
      ray: of a traced front, preferences ``[..., 2]`` to the directions ``[..., 2]``
        that losses are drawn to; None if there are none.
    """

    preferences: np.ndarray
    scores: np.ndarray
    models: int
    parameters: int
    traced: bool
    ray: Callable[[np.ndarray], np.ndarray] | None


@dataclasses.dataclass(frozen=True)
class Fronts:
    """What was trained, and what it reached.

    Attributes:
      experiment: its name, for titles.
      tasks: the two task names.
      metric: the name of the primary metric.
      reference: the loss up to which the hypervolume counts.
      steps: of every model.
      fixed_every: which of the traced preferences the fixed weightings have.
      families: name to family, in the order of the table.
    """

    experiment: str
    tasks: tuple[str, ...]
    metric: str
    reference: float
    steps: int
    fixed_every: int
    families: dict[str, Family]


def order(
    preferences: Float[np.ndarray, "N 2"], losses: Float[np.ndarray, "N 2"]
) -> float:
    """Spearman's correlation of a task's preference with its loss, mean of the tasks.

    Returns:
      A number in [-1, 1]; nan for fewer than two points, or losses that are all equal.

    Example:
      >>> p = np.array([[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]])
      >>> order(p, 1 / p)
      -1.0
    """
    columns = zip(preferences.T, losses.T, strict=True)
    pairs = [(_ranks(p), _ranks(loss)) for p, loss in columns]
    if any(np.ptp(ranks) == 0 for pair in pairs for ranks in pair):
        return float("nan")
    correlations = [np.corrcoef(p, loss)[0, 1] for p, loss in pairs]
    return float(np.mean(correlations).round(9))


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; ties share the average of their ranks."""
    return ranks(values[:, None], [False])[:, 0]


def summary(fronts: Fronts) -> dict[str, Any]:
    """The numbers of :func:`table` and every point, as ``results.json`` holds them."""
    families = {}
    for name, family in fronts.families.items():
        losses = family.scores[..., 0]
        families[name] = {
            "preferences": family.preferences if len(family.preferences) > 1 else None,
            "loss": losses,
            fronts.metric: family.scores[..., 1],
            "hypervolume": [_area(own, fronts.reference) for own in losses],
            "order": [order(family.preferences, own) for own in losses],
            "models": family.models,
            "parameters": family.parameters,
        }
    return {
        "tasks": list(fronts.tasks),
        "steps": fronts.steps,
        "reference": [fronts.reference] * 2,
        "families": families,
    }


def table(fronts: Fronts) -> str:
    """One row a family, as text without a final newline.

    Example:
      >>> p = np.array([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])
      >>> scores = np.stack([1 / (4 * p), p], axis=-1)[None]
      >>> ours = Family(p, scores, 1, 1234, True, None)
      >>> fronts = Fronts("demo", ("l", "r"), "accuracy", 2.0, 9, 2, {"ours": ours})
      >>> print(table(fronts))  # doctest: +ELLIPSIS
      demo: test losses after 9 steps, 1 seed
      <BLANKLINE>
              models  parameters  hypervolume  same 2  order  lowest l  lowest r
      --------------------------------------------------------------------------
      one model for all points
        ours       1       1,234         2.58    2.33  -1.00     0.333     0.333
      <BLANKLINE>
      Hypervolume: ...
    """
    traced, others = _divided(fronts)
    same = len(next(iter(traced.values())).preferences[:: fronts.fixed_every])
    head = ["", "models", "parameters", "hypervolume", f"same {same}", "order"]
    head += [f"lowest {task}" for task in fronts.tasks]
    groups = {"one model for all points": traced, "a model for each point": others}
    body = {
        group: [["  " + name, *_cells(family, fronts)] for name, family in own.items()]
        for group, own in groups.items()
        if own
    }
    rows = [head, *(row for group in body.values() for row in group)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: list[str]) -> str:
        cells = zip(row[1:], widths[1:], strict=True)
        return "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in cells)])

    lines = [line(head), "-" * len(line(head))]
    for group, own in body.items():
        lines += [group, *map(line, own)]
    legend = LEGEND.format(r=fronts.reference, n=same)
    return "\n".join([_title(fronts), "", *lines, "", legend])


def picture(fronts: Fronts, path: str | os.PathLike[str]) -> None:
    """Draws every traced front with its rays, and the points of the other models.

    Args:
      fronts: the results. Markers are means over seeds, thin lines single seeds.
      path: the PNG file to write.
    """
    traced, others = _divided(fronts)
    first, second = map(literal_name, fronts.tasks)
    figure = Figure(figsize=(1.4 + 3.5 * len(traced), 4.8))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(traced), sharex=True, sharey=True, squeeze=False)[0]
    means = [family.scores[..., 0].mean(axis=0) for family in fronts.families.values()]
    top = 1.06 * min(np.concatenate(means).max(), fronts.reference)
    for panel, (name, family) in zip(panels, traced.items(), strict=True):
        _rays(panel, family, fronts.fixed_every, top)
        points = _front(panel, family)
        _others(panel, others)
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        panel.set(xlim=(0, top), ylim=(0, top), xlabel=f"{first}: test loss")
        panel.set_aspect("equal")
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#999999")
        panel.tick_params(colors=GREY, labelcolor=INK, labelsize=9)
    panels[0].set_ylabel(f"{second}: test loss")
    bar = figure.colorbar(points, ax=list(panels), shrink=0.7, pad=0.02, aspect=30)
    bar.set_label(f"preference for {first}", color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color=GREY, labelcolor=INK)
    head(figure, _title(fronts))
    rays = Line2D([], [], color=GREY, lw=0.9, alpha=0.5, label="what it aims at")
    drawn, labels = panels[0].get_legend_handles_labels()
    handles = [drawn.pop(labels.index(ONE)), rays, *drawn]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=9
    )
    save(
        figure,
        path,
        "A panel a traced front: its points, one score against the other, the "
        "rays they aim at, and the models of single preferences.",
    )


def _rays(panel: Axes, family: Family, every: int, top: float) -> None:
    """Lines from the origin to where the scalarisation draws the losses."""
    if family.ray is None:
        return
    chosen = family.preferences[::every]
    ends = family.ray(chosen)
    ends = 2 * top * ends / ends.max(axis=1, keepdims=True)
    for (first, second), (preference, _) in zip(ends, chosen, strict=True):
        colour = colormaps[COLOUR_MAP](float(preference))
        panel.plot([0, first], [0, second], color=colour, lw=0.9, alpha=0.5, zorder=1)


def _front(panel: Axes, family: Family) -> Any:
    """The traced front: a coloured disc a preference, on a line through them."""
    for seed in family.scores[..., 0]:
        panel.plot(*seed.T, color=GREY, lw=0.6, alpha=0.5, zorder=2)
    mean = family.scores[..., 0].mean(axis=0)
    panel.plot(*mean.T, color=GREY, lw=1.2, zorder=3)
    return panel.scatter(
        *mean.T,
        c=family.preferences[:, 0],
        cmap=COLOUR_MAP,
        vmin=0,
        vmax=1,
        s=42,
        edgecolors="white",
        linewidths=0.8,
        zorder=4,
        label=ONE,
    )


def _others(panel: Axes, others: dict[str, Family]) -> None:
    """The means of models of a single point; the weighted ones on a dashed line."""
    styles = zip(itertools.cycle(COLOURS[1:]), itertools.cycle(MARKERS), strict=False)
    for (name, family), (colour, marker) in zip(others.items(), styles, strict=False):
        mean = family.scores[..., 0].mean(axis=0)
        label = name if family.models == 1 else f"{name}, {family.models} models"
        panel.plot(
            *mean.T,
            color=colour,
            marker=marker,
            ls="--" if len(mean) > 1 else "",
            lw=0.8,
            ms=7,
            mfc="none",
            mew=1.4,
            zorder=5,
            label=label,
        )


def _divided(fronts: Fronts) -> tuple[dict[str, Family], dict[str, Family]]:
    """The families of one model for many preferences, and the others."""
    families = fronts.families.items()
    return (
        {name: family for name, family in families if family.traced},
        {name: family for name, family in families if not family.traced},
    )


def _cells(family: Family, fronts: Fronts) -> list[str]:
    """A row of the table, without its name."""
    losses = family.scores[..., 0]
    chosen = losses[:, :: fronts.fixed_every]
    return [
        f"{family.models}",
        f"{family.parameters:,}",
        _volume(losses, fronts.reference),
        _volume(chosen, fronts.reference) if family.traced else "",
        _order(family),
        *(f"{losses[..., k].min(axis=1).mean():.3f}" for k in range(2)),
    ]


def _area(losses: np.ndarray, reference: float) -> float:
    """The hypervolume of one seed's points."""
    return hypervolume(losses, [reference, reference], [False, False])


def _volume(losses: np.ndarray, reference: float) -> str:
    """The hypervolume over seeds, as mean and standard deviation."""
    mean, spread = mean_and_spread([_area(own, reference) for own in losses], axis=0)
    return f"{mean:.2f} ± {spread:.2f}" if len(losses) > 1 else f"{mean:.2f}"


def _order(family: Family) -> str:
    """The mean order over seeds; empty for a single point."""
    if len(family.preferences) == 1:
        return ""
    seeds = [order(family.preferences, losses) for losses in family.scores[..., 0]]
    return f"{mean_and_spread(seeds, axis=0)[0]:+.2f}"


def _title(fronts: Fronts) -> str:
    seeds = len(next(iter(fronts.families.values())).scores)
    count = f"{seeds} seed" + "s" * (seeds > 1)
    return f"{fronts.experiment}: test losses after {fronts.steps:,} steps, {count}"
