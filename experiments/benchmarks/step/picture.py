"""The benchmark of the step as a picture: time over the plain step, and memory."""

import itertools
import os

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ...common.drawing import COLOURS, INK, head, save, tidy
from .results import Group

STYLES = {
    "mtopt": {"color": COLOURS[1], "marker": "o", "zorder": 4},
    "autojac": {"color": COLOURS[0], "marker": "s", "zorder": 3},
    "autogram": {"color": COLOURS[5], "marker": "D", "zorder": 3},
    "one by one": {"color": COLOURS[3], "marker": "^", "zorder": 3},
    "plain torch": {"color": "#999999", "marker": "|", "zorder": 2},
}
LABELS = {
    "mtopt": "mtopt",
    "autojac": "TorchJD, autojac",
    "autogram": "TorchJD, autogram",
    "one by one": "loop over tasks, PyTorch",
    "plain torch": "mean loss, PyTorch",
}
LEAST_MB = 1.0  # a smaller difference is that of two processes


def draw(groups: list[Group], path: str | os.PathLike[str]) -> None:
    """Draws a line for each cell and method: what a step takes, and what memory.

    To the left times over that of the mean loss in JAX, which is 1; to the right the
    peak memory over that of the mean loss in the same library, at least
    :data:`LEAST_MB`. Both axes are logarithmic.

    Args:
      groups: cells together, as :func:`.results.merged` has them.
      path: the PNG file to write.
    """
    places, labels, lines = [], [], []
    at = 0.0
    for cell, of_cell in itertools.groupby(groups, lambda group: group.cell):
        lines.append((at, str(cell)))
        for group in of_cell:
            at += 1
            places.append(at)
            labels.append(group.method)
        at += 1.6
    figure = Figure(figsize=(10, 1.4 + 0.235 * at), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, group in zip(places, groups, strict=True):
        times = {n: group.ratio(n, "plain jax") for n in STYLES}
        extra = {n: group.extra(n) for n in STYLES}
        sizes = {n: max(b / 1e6, LEAST_MB) for n, b in extra.items() if b is not None}
        _line(left, place, {n: t for n, t in times.items() if t is not None})
        _line(right, place, sizes)
    left.axvline(1, color=INK, lw=0.8)
    for axes in (left, right):
        tidy(axes)
        axes.set_xscale("log")
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.set_yticks(places, labels)
    left.set_ylim(at - 1, -0.8)
    for place, text in lines:
        left.text(
            -0.02,
            place,
            text,
            transform=left.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=INK,
        )
    left.set_xlabel("time of a step over that of the mean loss in JAX", fontsize=9)
    right.set_xlabel("peak memory over that of the mean loss, MB", fontsize=9)
    shown = [n for n in STYLES if any(n in group.costs for group in groups)]
    handles = [Line2D([], [], lw=0, label=LABELS[n], **STYLES[n]) for n in shown]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )
    head(figure, f"A training step on {_where(groups)}: to the left is better")
    save(
        figure,
        path,
        "Time of a step over that of the mean loss, to the left, and peak memory, "
        "to the right: a row a method, a marker a library.",
    )


def _line(axes: Axes, place: float, values: dict[str, float]) -> None:
    """The columns of one group, and a line between the methods' least and most."""
    methods = [value for name, value in values.items() if name != "plain torch"]
    if methods:
        axes.hlines(
            place, min(methods), max(methods), color="#DDDDDD", lw=1.6, zorder=1
        )
    for name, value in values.items():
        axes.plot(value, place, ms=6, lw=0, **STYLES[name])


def _where(groups: list[Group]) -> str:
    devices = sorted({group.device for group in groups})
    return " and ".join("one core" if one == "cpu" else one for one in devices)
