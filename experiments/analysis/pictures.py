"""The analysis of trained models as three pictures: a plane, a line, the layers."""

import os
import textwrap

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from mtopt.metrics import mean_and_spread

from ..common.drawing import INK, head, save, style_of, tidy
from ..common.literal import literal_name
from .report import Analysis

COLUMNS = 3  # landscapes side by side
LEVELS = 16
COLOUR_MAP = "cividis_r"
HEALTHY = (2, 6)  # exponents of well-trained layers, as Martin and Mahoney have it


def landscape(found: Analysis, path: str | os.PathLike[str]) -> None:
    """Draws the mean loss on a plane through every method's model of the first seed.

    Args:
      found: what was measured; directions and colours are the same in all panels.
      path: the PNG file to write.
    """
    surfaces = [method.surface.mean(axis=-1) for method in found.methods]
    every = np.concatenate([s[np.isfinite(s) & (s > 0)] for s in surfaces])
    low = float(every.min())
    high = max(float(np.quantile(every, 0.98)), 1.01 * low)
    scale, levels = LogNorm(low, high), np.geomspace(low, high, LEVELS)
    columns = min(COLUMNS, len(surfaces))
    rows = -(-len(surfaces) // columns)
    names = [_wrapped(method.name) for method in found.methods]
    head = 0.2 * max(name.count("\n") for name in names)
    figure = Figure(
        figsize=(1.6 + 3.2 * columns, 0.7 + (3.4 + head) * rows), layout="constrained"
    )
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.ravel()[len(surfaces) :]:
        panel.set_axis_off()
    maps = []
    for k, (panel, name, mean) in enumerate(
        zip(panels.ravel(), names, surfaces, strict=False)
    ):
        style = style_of(k)
        grid = (found.offsets, found.offsets, mean.T)
        maps.append(
            panel.contourf(
                *grid, levels=levels, norm=scale, cmap=COLOUR_MAP, extend="max"
            )
        )
        panel.contour(*grid, levels=levels, colors="white", linewidths=0.5)
        panel.plot(
            0, 0, style["marker"], color=style["color"], ms=9, mec="white", mew=1
        )
        middle = len(found.offsets) // 2
        panel.annotate(
            f"{mean[middle, middle]:.3g}",
            (0, 0),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )
        panel.set_title(name, loc="left", fontsize=9, color=INK)
        panel.set(aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        panel.spines[:].set_visible(False)
        panel.tick_params(colors="#555555", labelcolor=INK, labelsize=9)
        if k >= len(surfaces) - columns:
            panel.set_xlabel("first direction")
            panel.tick_params(labelbottom=True)
        if k % columns == 0:
            panel.set_ylabel("second direction")
    ticks = np.geomspace(low, high, 5)
    bar = figure.colorbar(
        maps[0], ax=panels, shrink=0.8, pad=0.02, aspect=30, ticks=ticks
    )
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.ax.minorticks_off()
    bar.set_label("mean loss of the tasks", color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color="#555555", labelcolor=INK)
    _title(figure, found, "test loss on a filter-normalised plane, one seed")
    save(
        figure,
        path,
        "A panel a method: the mean test loss as a map around its model, which is "
        "the marker in the middle.",
    )


def slices(found: Analysis, path: str | os.PathLike[str]) -> None:
    """Draws the loss of every task along one filter-normalised direction.

    Lines are means over seeds, shades reach from the lowest to the highest seed.

    Args:
      found: what was measured; of more than 4 tasks the mean alone is drawn.
      path: the PNG file to write.
    """
    names, lines = (
        [*map(literal_name, found.task_names)],
        [method.lines for method in found.methods],
    )
    if len(names) > 4:
        names = [f"mean of {len(names)} tasks"]
        lines = [line.mean(axis=-1, keepdims=True) for line in lines]
    rows = 2 if len(names) == 4 else 1
    columns = len(names) // rows
    figure = Figure(
        figsize=(2.5 + 3.6 * columns, 0.6 + 3.2 * rows), layout="constrained"
    )
    panels = figure.subplots(
        rows, columns, sharex=True, sharey=True, squeeze=False
    ).ravel()
    for k, (panel, name) in enumerate(zip(panels, names, strict=True)):
        for i, line in enumerate(lines):
            style, own = style_of(i), line[..., k]
            mean, _ = mean_and_spread(own, axis=0)
            ends = np.fmin.reduce(own), np.fmax.reduce(own)
            panel.fill_between(
                found.offsets, *ends, color=style["color"], alpha=0.15, lw=0
            )
            panel.plot(
                found.offsets, mean, lw=1.6, ms=5, markevery=[len(mean) // 2], **style
            )
        tidy(panel)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.grid(visible=True, color="#E6E6E6", linewidth=0.8)
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        if k >= len(names) - columns:
            panel.set_xlabel("distance, in lengths of every filter")
        if k % columns == 0:
            panel.set_ylabel("test loss")
    _legend(figure, found)
    _title(figure, found, f"test loss along a direction, {_seeds(found)}")
    save(
        figure,
        path,
        "Test loss along one direction from the model in the middle, a line a "
        "method, shades over its seeds.",
    )


def alphas(found: Analysis, path: str | os.PathLike[str]) -> None:
    """Draws the power-law exponent of every layer; the shade is 2 to 6.

    Markers are means over seeds, with their standard deviation.

    Args:
      found: what was measured.
      path: the PNG file to write.
    """
    layers = found.methods[0].layers
    number = len(found.methods)
    height = 1.4 + min(0.25 + 0.12 * number, 0.6) * max(len(layers), 1)
    figure = Figure(figsize=(8.6, height), layout="constrained")
    axes = figure.subplots()
    for i, method in enumerate(found.methods):
        style = style_of(i)
        finite = np.where(np.isfinite(method.alphas), method.alphas, np.nan)
        mean, spread = mean_and_spread(finite, axis=0)
        axes.errorbar(
            mean,
            np.arange(len(layers)) + 0.7 * ((i + 0.5) / number - 0.5),
            xerr=spread,
            marker=style["marker"],
            color=style["color"],
            linestyle="",
            ms=7,
            mec="white",
            mew=0.8,
            elinewidth=1.2,
            zorder=3,
        )
    left, right = axes.get_xlim()
    axes.axvspan(*HEALTHY, color="#F0F0F0", lw=0, zorder=0)
    axes.set_xlim(min(left, HEALTHY[0] - 0.25), max(right, HEALTHY[0] + 1))
    tidy(axes)
    axes.grid(visible=False, axis="y")
    names = [name.removesuffix("/kernel") for name in layers]
    axes.set_yticks(range(len(layers)), names)
    axes.set_ylim(max(len(layers), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("power-law exponent alpha; shaded: 2 to 6; smaller: heavier tail")
    _legend(figure, found)
    _title(figure, found, f"spectra of the weights, {_seeds(found)}")
    save(
        figure,
        path,
        "The exponent of every layer, a marker a method with its spread over "
        "seeds; what is usual, 2 to 6, is shaded.",
    )


def _title(figure: Figure, found: Analysis, what: str) -> None:
    head(figure, f"{found.experiment}: {what}, after the last step")


def _legend(figure: Figure, found: Analysis) -> None:
    """The methods, to the right of the axes."""
    handles = [
        Line2D([], [], lw=1.6, label=_wrapped(method.name), **style_of(i))
        for i, method in enumerate(found.methods)
    ]
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, fontsize=9
    )


def _seeds(found: Analysis) -> str:
    seeds = len(found.methods[0].loss)
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _wrapped(name: str) -> str:
    """A long method in lines of 30 characters."""
    return "\n".join(textwrap.wrap(name, 30, subsequent_indent="  "))
