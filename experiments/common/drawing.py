"""How pictures look: colours, markers, axes, titles, files."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .results import Comparison, MethodResult

MAX_COLOURED = 12  # methods that can be told apart by colour and marker

# Okabe and Ito's palette for colour-blind readers, without its yellow, which is too
# light for lines; black and grey are left to the single-task models.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "<", ">")
LINES = ("-", "-.", ":")  # the second and third time round the colours
SINGLE_TASK = "#555555"
OTHERS = "#cccccc"
INK = "#222222"

Style = dict[str, Any]  # keyword arguments of matplotlib


def styled(comparison: Comparison) -> list[tuple[MethodResult, Style]]:
    """Every row with its colour and marker; the same in all pictures."""
    styles = [style_of(i) for i in range(len(comparison.methods))]
    if comparison.baseline is not None:
        styles.insert(0, {"color": SINGLE_TASK, "marker": "", "linestyle": "--"})
    return list(zip(comparison.results, styles, strict=True))


def style_of(i: int) -> Style:
    """The colour and marker of the i-th method."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i // len(COLOURS) % len(LINES)],
    }


def dots(style: Style) -> Style:
    """Single seeds or tasks: small and pale."""
    return {
        "linestyle": "",
        "marker": "o",
        "ms": 4,
        "mew": 0,
        "alpha": 0.45,
        "color": style["color"],
    }


def mean_marker(style: Style) -> Style:
    """A mean: large, with error bars."""
    return {
        "marker": style["marker"] or "o",
        "color": style["color"],
        "ms": 9,
        "mec": "white",
        "mew": 1,
        "elinewidth": 1.4,
        "capsize": 0,
        "zorder": 3,
    }


def line(style: Style) -> Style:
    """The single-task models: a dashed line behind everything."""
    return {"color": style["color"], "linestyle": "--", "lw": 1.2, "zorder": 1}


def finite(values: np.ndarray) -> np.ndarray:
    """Infinite numbers as nan, which is not drawn."""
    return np.where(np.isfinite(values), values, np.nan)


def make_room(figure: Figure, names: Sequence[str], usual: int = 24) -> None:
    """Widens a figure by what its longest name takes beyond ``usual`` letters."""
    longest = max(map(len, names))
    inches = 0.075 * max(0, longest - usual)
    figure.set_figwidth(figure.get_figwidth() + inches)


def head(figure: Figure, title: str) -> None:
    """The title, to the left."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, color=INK)


def save(figure: Figure, path: str | os.PathLike[str], shows: str) -> None:
    """Writes a figure as a PNG file, cut to what is drawn.

    The file says itself what it is: ``Title`` and ``Description`` are keywords of the
    format.

    Args:
      figure: with a title of :func:`head`, or none.
      path: the file.
      shows: what is to be seen, in a sentence.
    """
    title = figure.get_suptitle().replace(r"\$", "$")
    says = {"Title": title, "Description": shows}
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight", metadata=says)


def tidy(axes: Axes) -> None:
    """Less ink: no box, a pale grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#555555", labelcolor=INK, labelsize=9)


def better(axes: Axes, higher: bool, *, diagonal: bool) -> None:
    """An arrow above the right end of the axes, towards the better values."""
    tail, tip = ((0.96, 1.02), (0.995, 1.07)) if diagonal else ((0.93, 1.04), (1, 1.04))
    axes.annotate(
        "",
        xy=tip if higher else tail,
        xytext=tail if higher else tip,
        xycoords="axes fraction",
        arrowprops={"arrowstyle": "->", "color": "#777777", "lw": 1.4},
    )
    axes.text(
        tail[0] - 0.01,
        1.045 if diagonal else 1.04,
        "better",
        transform=axes.transAxes,
        ha="right",
        va="center",
        fontsize=9,
        color="#777777",
    )


def head_and_legend(
    figure: Figure,
    title: str,
    entries: list[tuple[MethodResult, Style]],
    more: Sequence[Line2D] = (),
) -> None:
    """The title and, to the right of the axes, the legend; grey rows share a line.

    Args:
      figure: to be titled.
      title: its title.
      entries: the methods, each with its style.
      more: further lines of the legend.
    """
    head(figure, title)
    grey = [entry for entry in entries if entry[1]["color"] == OTHERS]
    entries = [entry for entry in entries if entry[1]["color"] != OTHERS]
    if grey:
        others = dataclasses.replace(grey[0][0], name=f"{len(grey)} others")
        entries.append((others, grey[0][1]))
    if entries:
        make_room(figure, [result.name for result, _ in entries])
        handles = [
            Line2D([], [], lw=1.6, label=r.name, **style) for r, style in entries
        ]
        handles += more
        figure.legend(
            handles=handles, loc="outside right center", frameon=False, fontsize=9
        )
