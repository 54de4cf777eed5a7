"""Trajectories on the toy problem as a table and a picture."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.data import toy

from ..common.drawing import COLOURS, INK, head, save

NEAR = 0.05  # how far from the front a point may be that is called on it
COLUMNS = 3  # panels side by side
RANGE = (-11.0, 11.0)
TICKS = range(-10, 11, 5)
CAPTION = {"ha": "center", "va": "center", "fontsize": 9, "color": INK}


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """What several methods did on the toy problem.

    Attributes:
      experiment: its name, for the title.
      scale: of the first loss.
      steps: of every run.
      points: method to its points ``[N, T, 2]``, one row a start, from it to the end.
    """

    experiment: str
    scale: float
    steps: int
    points: dict[str, np.ndarray]


def on_front(points: np.ndarray) -> np.ndarray:
    """Which of the points ``[N, 2]`` are within 0.05 of the Pareto front.

    Example:
      >>> on_front(np.array([[0.0, -8.36], [0.0, -8.2], [7.5, -8.43]])).tolist()
      [True, False, False]
    """
    front, _ = toy.pareto_front(2001)
    distance = np.linalg.norm(points[:, None] - front[None], axis=-1).min(axis=1)
    return distance < NEAR


def losses(points: np.ndarray, scale: float) -> np.ndarray:
    """The two losses ``[N, 2]`` at the points ``[N, 2]``."""
    first, second = jax.vmap(toy.losses, in_axes=(0, None))(jnp.asarray(points), scale)
    return np.stack([first, second], axis=1)


def summary(result: Trajectories) -> dict[str, Any]:
    """The numbers of :func:`table`, as they go into ``results.json``."""
    entries = {}
    for method, points in result.points.items():
        end = points[:, -1]
        entries[method] = {
            "end": end,
            "losses": losses(end, result.scale),
            "on_front": on_front(end),
        }
    return {
        "scale": result.scale,
        "steps": result.steps,
        "starts": next(iter(result.points.values()))[:, 0],
        "methods": entries,
    }


def table(result: Trajectories) -> str:
    """Where every method ended from every start, as text without a final newline.

    Example:
      >>> points = np.array(toy.STARTS["nash_mtl"])[:, None].repeat(2, axis=1)
      >>> points[0, -1] = -5.73, -8.414
      >>> print(table(Trajectories("toy", 0.1, 9, {"ours": points})))
      ... # doctest: +ELLIPSIS
      toy: the point after 9 steps, L1 scaled by 0.1
      <BLANKLINE>
                start              end       L1       L2  on the front
      ----------------------------------------------------------------
      ours
        (-8.50, 7.50)   (-5.73, -8.41)    -0.38   -19.83           yes
         (0.00, 0.00)     (0.00, 0.00)     0.00     0.00            no
      ...
      <BLANKLINE>
      On the front: within 0.05 of a point where no loss can fall ...
    """
    head = f"{'start':>15}  {'end':>15}  {'L1':>7}  {'L2':>7}  on the front"
    lines = [
        f"{result.experiment}: the point after {result.steps:,} steps, L1 scaled by "
        f"{result.scale:g}",
        "",
        head,
        "-" * len(head),
    ]
    for method, points in result.points.items():
        end = points[:, -1]
        rows = zip(
            points[:, 0], end, losses(end, result.scale), on_front(end), strict=True
        )
        lines += [
            method,
            *(
                f"{_pair(start):>15}  {_pair(point):>15}  {first:>7.2f}  "
                f"{second:>7.2f}  {'yes' if there else 'no':>12}"
                for start, point, (first, second), there in rows
            ),
        ]
    lines += [
        "",
        f"On the front: within {NEAR} of a point where no loss can fall unless the "
        "other rises.",
    ]
    return "\n".join(lines)


def picture(result: Trajectories, path: str | os.PathLike[str]) -> None:
    """Draws every method's trajectories over the mean loss, and the Pareto front.

    Args:
      result: the trajectories.
      path: the PNG file to write.
    """
    columns = min(COLUMNS, len(result.points))
    rows = -(-len(result.points) // columns)
    figure = Figure(figsize=(1.9 + 3.3 * columns, 0.8 + 3.4 * rows))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(
        rows, columns, sharex=True, sharey=True, squeeze=False
    ).ravel()
    for panel in panels[len(result.points) :]:
        panel.set_axis_off()
    maps = []
    for k, (panel, (method, points)) in enumerate(
        zip(panels, result.points.items(), strict=False)
    ):
        maps.append(_landscape(panel, result.scale))
        for colour, own in zip(COLOURS, points, strict=False):
            _trajectory(panel, own, colour)
        count = int(on_front(points[:, -1]).sum())
        panel.set_title(method, loc="left", fontsize=9, color=INK)
        panel.text(0, -10.3, f"{count} of {len(points)} on the front", **CAPTION)
        if k >= len(result.points) - columns:
            panel.set_xlabel("$x_1$")
            panel.tick_params(labelbottom=True)
        if k % columns == 0:
            panel.set_ylabel("$x_2$")
        else:
            panel.tick_params(left=False)
    bar = figure.colorbar(maps[0], ax=panels, shrink=0.7, pad=0.02, aspect=30)
    bar.set_label("mean of the two losses", color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color="#555555", labelcolor=INK)
    head(
        figure,
        f"{result.experiment}: {result.steps:,} steps from every start, L₁ scaled "
        f"by {result.scale:g}",
    )
    figure.legend(
        handles=_legend(), loc="outside lower left", ncols=4, frameon=False, fontsize=9
    )
    save(
        figure,
        path,
        "A panel a method: from every start a path over the mean loss to where it "
        "ended, and the Pareto front as a thick line.",
    )


def _landscape(panel: Axes, scale: float) -> Any:
    """The mean loss as a pale map with contour lines, and the front on it."""
    ticks = np.linspace(*RANGE, 221)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    mean = losses(grid.reshape(-1, 2), scale).mean(axis=1).reshape(grid.shape[:2])
    filled = panel.contourf(ticks, ticks, mean, levels=14, cmap="Greys_r", alpha=0.4)
    panel.contour(
        ticks, ticks, mean, levels=14, colors="white", linewidths=0.5, linestyles="-"
    )
    front, _ = toy.pareto_front(201)
    panel.plot(*front.T, color=INK, lw=4, solid_capstyle="round", zorder=2)
    panel.set_aspect("equal")
    panel.set(
        xlim=RANGE, ylim=RANGE, xticks=range(-10, 11, 5), yticks=range(-10, 11, 5)
    )
    panel.spines[:].set_visible(False)
    panel.tick_params(colors="#555555", labelcolor=INK, labelsize=9)
    return filled


def _trajectory(panel: Axes, points: np.ndarray, colour: str) -> None:
    """One line, its start a ring, its end a disc."""
    panel.plot(*points.T, color=colour, lw=1.6, zorder=3)
    panel.plot(*points[0], "o", mfc="white", mec=colour, mew=1.6, ms=7, zorder=4)
    panel.plot(*points[-1], "o", mfc=colour, mec="white", mew=1, ms=9, zorder=5)


def _legend() -> list[Line2D]:
    grey = "#555555"
    return [
        Line2D([], [], color=INK, lw=4, solid_capstyle="round", label="Pareto front"),
        Line2D([], [], ls="", marker="o", mfc="white", mec=grey, ms=7, label="start"),
        Line2D([], [], color=grey, lw=1.6, label="path"),
        Line2D([], [], ls="", marker="o", mfc=grey, mec="white", ms=9, label="end"),
    ]


def _pair(point: np.ndarray) -> str:
    """A point of the plane; zeros without a sign."""
    return "({:.2f}, {:.2f})".format(*(point.round(2) + 0.0))
