"""Learners on rows of several tasks: scores, theta, ranks, as text and pictures."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.metrics.ranks import Ranking

from ..common.drawing import COLOURS, INK, head, make_room, save, style_of, tidy
from .learners import Fitted

GREY = "#555555"
COLUMNS = 3  # panels side by side


class Measure(NamedTuple):
    """What the rows of a kind of problem are judged by.

    Attributes:
      names: of the two scores; the first is the primary one.
      higher: whether more of it is better.
    """

    names: tuple[str, str]
    higher: bool


MEASURES = {
    "regression": Measure(("RMSE", "MAE"), False),
    "classification": Measure(("accuracy", "macro recall"), True),
}


def scores(kind: str, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Both scores of every repeat, ``[R, 2]``: of rows ``[R, N]``.

    The macro recall is the mean, over the classes that occur, of the share of their
    rows that is found.

    Example:
      >>> predictions, targets = np.array([[0, 1, 0]]), np.array([[0, 1, 1]])
      >>> scores("classification", predictions, targets).round(2)
      array([[0.67, 0.75]])
    """
    if kind == "regression":
        apart = predictions.astype(float) - targets
        return np.stack([np.sqrt((apart**2).mean(1)), np.abs(apart).mean(1)], axis=1)
    right = predictions == targets
    recall = [
        np.mean([hit[real == name].mean() for name in np.unique(real)])
        for hit, real in zip(right, targets, strict=True)
    ]
    return np.stack([right.mean(axis=1), recall], axis=1)


def scores_of_tasks(
    kind: str,
    predictions: np.ndarray,
    targets: np.ndarray,
    task: np.ndarray,
    num_tasks: int,
) -> np.ndarray:
    """The primary score of every task, ``[R, T]``; nan for one without a row.

    Args:
      kind: of :data:`MEASURES`.
      predictions: predictions ``[R, N]``.
      targets: what they should have been, likewise.
      task: of the N rows, the same in all repeats.
      num_tasks: T.

    Example:
      >>> predictions, targets = np.array([[1., 2., 4.]]), np.array([[1., 2., 1.]])
      >>> scores_of_tasks("regression", predictions, targets, np.array([0, 0, 2]), 3)
      array([[ 0., nan,  3.]])
    """
    found = np.full((len(predictions), num_tasks), np.nan)
    for number in np.unique(task):
        rows = task == number
        found[:, number] = scores(kind, predictions[:, rows], targets[:, rows])[:, 0]
    return found


def gates(theta: np.ndarray) -> np.ndarray:
    """Sigma(theta), ``[R, T]``, oriented so that the outliers are the high ones.

    Which of the two groups is called the outliers is a matter of the initial theta: a
    repeat in which the median is above 1/2 is turned round.

    Example:
      >>> gates(np.array([[0., 9., 9.]])).round(2)
      array([[0.5, 0. , 0. ]])
    """
    found = 1 / (1 + np.exp(-np.clip(theta.astype(float), -700, 700)))
    high = np.median(found, axis=1, keepdims=True) > 0.5
    return np.where(high, 1 - found, found)


def settings(counts: np.ndarray) -> str:
    """The iterations of most repeats, and of how many if not of all.

    Example:
      >>> settings(np.array([[0, 50, 0], [0, 50, 0], [20, 30, 0]]))
      '(0, 50, 0) 2/3'
    """
    found, times = np.unique(counts, axis=0, return_counts=True)
    text = f"({', '.join(str(n) for n in found[times.argmax()])})"
    return text if len(found) == 1 else f"{text} {times.max()}/{len(counts)}"


def ranking_lines(names: Sequence[str], found: Ranking, case: str) -> list[str]:
    r"""The ranks and both tests as text.

    Args:
      names: of the learners.
      found: their ranking.
      case: what they were ranked on, in words: ``"tasks"``.

    Example:
      >>> found = Ranking(np.array([1.25, 1.75]), 8, 2.0, 0.157, 0.693)
      >>> print("\n".join(ranking_lines(["ours", "theirs"], found, "tasks")))
      Mean rank over 8 tasks, 1 is best: ours 1.250, theirs 1.750.
      Friedman's statistic 2.0, p = 0.157; at the 5 % level ranks more than 0.693
      apart differ (Nemenyi).
    """
    order = np.argsort(found.mean, kind="stable")
    ranks = ", ".join(f"{names[i]} {found.mean[i]:.3f}" for i in order)
    p_value = f"= {found.p_value:.3g}" if found.p_value > 0 else "< 1e-300"
    sentences = (
        f"Mean rank over {found.cases:,} {case}, 1 is best: {ranks}.",
        f"Friedman's statistic {found.statistic:.1f}, p {p_value}; at the "
        f"5 % level ranks more than {found.critical_difference:.3f} apart differ "
        "(Nemenyi).",
    )
    return [line for text in sentences for line in textwrap.wrap(text, 80)]


def ranking_results(names: Sequence[str], found: Ranking) -> dict[str, Any]:
    """The same as it goes into ``results.json``."""
    mean = dict(zip(names, found.mean.tolist(), strict=True))
    return found._asdict() | {"mean": mean}


def ranks_picture(
    names: Sequence[str],
    found: Ranking,
    case: str,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Draws a critical difference diagram.

    The learners on an axis of mean ranks, best to the left; bars join those whose ranks
    do not differ significantly.

    Args:
      names: of the learners.
      found: their ranking.
      case: what they were ranked on, in words: ``"tasks"``.
      title: above it.
      path: the PNG file to write.
    """
    order = np.argsort(found.mean, kind="stable")
    mean, number = found.mean[order], len(names)
    limit = found.critical_difference
    groups = _groups(mean, limit)
    first = 0.42 + 0.16 * len(groups)  # below the axis, where the names begin
    rows = -(-number // 2)
    bottom = first + 0.34 * (rows - 1) + 0.3
    top = 1.35
    figure = Figure(figsize=(7.2, 0.5 + 0.85 * (bottom + top)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    room = 0.42 * (number - 1)
    axes.set(xlim=(1 - room, number + room), ylim=(-bottom, top))
    axes.plot([1, number], [0, 0], color=INK, lw=1.2, solid_capstyle="butt")
    for rank in range(1, number + 1):
        axes.plot([rank, rank], [0, 0.09], color=INK, lw=1.2)
        axes.text(
            rank, 0.16, str(rank), ha="center", va="bottom", fontsize=9, color=INK
        )
    what = f"mean rank over {found.cases:,} {case}"
    axes.text(number, 1.04, what, ha="right", va="bottom", fontsize=9, color=INK)
    _ruler(axes, limit, number)
    for level, (low, high) in enumerate(groups):
        y = -0.17 - 0.16 * level
        ends = [mean[low] - 0.03, mean[high] + 0.03]
        axes.plot(ends, [y, y], color=INK, lw=4, solid_capstyle="round", zorder=3)
    for place, i in enumerate(order):
        left = place < rows
        y = -first - 0.34 * (place if left else number - 1 - place)
        end = 1 - 0.05 * (number - 1) if left else number + 0.05 * (number - 1)
        style = style_of(int(i))
        rank = mean[place]
        axes.plot([rank, rank, end], [0, y, y], color=GREY, lw=1, zorder=1)
        marker = {"color": style["color"], "marker": style["marker"], "mec": "white"}
        axes.plot(rank, 0, ms=8, zorder=4, **marker)
        axes.text(
            end + (-1 if left else 1) * 0.02 * (number - 1),
            y,
            f"{names[i]}  {rank:.2f}" if left else f"{rank:.2f}  {names[i]}",
            ha="right" if left else "left",
            va="center",
            fontsize=9.5,
            color=INK,
        )
    head(figure, title)
    save(
        figure,
        path,
        "Mean ranks of the learners on one axis, the best to the left; bars join "
        "those that do not differ significantly.",
    )


def gates_picture(
    panels: Mapping[str, np.ndarray],
    outliers: Sequence[int],
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Draws sigma(theta) of the tasks of every repeat, in rising order.

    Args:
      panels: title of a panel to sigma(theta), ``[R, T]``.
      outliers: the tasks planted as such, drawn in another colour.
      title: above all.
      path: the PNG file to write.
    """
    figure, axes = grid_of(len(panels), 3.4, 2.7)
    for panel, (name, found) in zip(axes, panels.items(), strict=False):
        order = found.argsort(axis=1, kind="stable")
        ordered = np.take_along_axis(found, order, axis=1)
        place = np.arange(1, found.shape[1] + 1)
        planted = np.isin(order, outliers)
        size = 5 if len(place) <= 30 else 2.5
        for values, which in zip(ordered, planted, strict=True):
            panel.plot(place, values, color="#bbbbbb", lw=0.8, alpha=0.6, zorder=1)
            for chosen, colour in ((~which, COLOURS[0]), (which, COLOURS[1])):
                dots = {"ms": size, "mew": 0, "alpha": 0.6, "color": colour}
                panel.plot(place[chosen], values[chosen], "o", **dots)
        tidy(panel)
        panel.set(ylim=(-0.04, 1.04), xlim=(0.4, place[-1] + 0.6))
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        panel.set_xlabel("task, in order of $\\sigma(\\theta)$")
        panel.locator_params(axis="x", integer=True, nbins=6)
    for panel in axes[::COLUMNS]:
        panel.set_ylabel("$\\sigma(\\theta)$")
    head(figure, title)
    if len(outliers):
        labels = (("regular task", COLOURS[0]), ("planted outlier", COLOURS[1]))
        dot = {"ls": "", "marker": "o", "mew": 0, "ms": 6}
        handles = [Line2D([], [], color=c, label=label, **dot) for label, c in labels]
        place = {"loc": "outside lower left", "ncols": 2}
        figure.legend(handles=handles, frameon=False, fontsize=9, **place)
    save(
        figure,
        path,
        "What the gate gives every task, in rising order, a dot a task and "
        "repeat; planted outliers in a colour of their own.",
    )


def boxes_picture(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    measure: Measure,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Draws the primary score of the learners over repeats: a box, a dot a repeat.

    Args:
      panels: title of a panel (rows that are scored) to learner to scores ``[R]``.
      measure: what the scores are.
      title: above all.
      path: the PNG file to write.
    """
    number = len(next(iter(panels.values())))
    figure, axes = grid_of(len(panels), 3.2, 0.9 + 0.42 * number)
    for k, (panel, (name, values)) in enumerate(
        zip(axes, panels.items(), strict=False)
    ):
        for i, found in enumerate(values.values()):
            colour = style_of(i)["color"]
            # Multiples of the golden ratio: even, and neighbours far apart.
            spread = (np.arange(len(found)) * 0.618 % 1 - 0.5) * 0.3
            dots = {"ms": 3.5, "mew": 0, "alpha": 0.45, "color": colour}
            panel.plot(found, i + spread, "o", **dots)
            line = {"color": colour, "lw": 1.4}
            panel.boxplot(
                found,
                positions=[i],
                orientation="horizontal",
                widths=0.55,
                showfliers=False,
                boxprops=line,
                whiskerprops=line,
                capprops=line,
                medianprops=line | {"lw": 2.4},
            )
        tidy(panel)
        panel.set_title(name, loc="left", fontsize=10, color=INK)
        panel.set_xlabel(f"test {measure.names[0]}")
        label_rows(figure, panel, k, list(values))
    head(figure, title)
    save(
        figure,
        path,
        "Scores of the learners, a panel a set of rows: a box over repeats, a dot "
        "a repeat.",
    )


def grid_of(number: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels, three side by side; those left over are off."""
    columns = min(COLUMNS, number)
    rows = -(-number // columns)
    size = (0.6 + width * columns, 0.6 + height * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in axes[number:]:
        panel.set_axis_off()
    return figure, axes


def label_rows(figure: Figure, axes: Axes, k: int, names: Sequence[str]) -> None:
    """The learners beside the k-th panel, if it is the first in its row, one a line."""
    if k == 0:
        make_room(figure, names, usual=6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(names)), names if k % COLUMNS == 0 else [""] * len(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=5)


def seconds(fitted: Fitted) -> str:
    """What the repeats took."""
    return f"{float(fitted.seconds):.1f}"


def _groups(mean: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """The longest runs of rising ranks no further apart than the limit: their ends."""
    ends = np.searchsorted(mean, mean + limit, side="right") - 1
    found, furthest = [], 0
    for low, high in enumerate(ends.tolist()):
        if high > max(low, furthest):
            found.append((low, high))
            furthest = high
    return found


def _ruler(axes: Axes, limit: float, number: int) -> None:
    """The critical difference as a length above the axis."""
    end, y = min(1 + limit, number), 0.68
    axes.plot([1, end], [y, y], color=GREY, lw=1.4, solid_capstyle="butt")
    for x in (1, end)[: 2 if 1 + limit <= number else 1]:
        axes.plot([x, x], [y - 0.06, y + 0.06], color=GREY, lw=1.4)
    text = f"critical difference {limit:.3g}"
    axes.text(1, y + 0.1, text, ha="left", va="bottom", fontsize=9, color=GREY)
