"""Two tasks, one against the other, with the front of the methods."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt import metrics

from .drawing import (
    better,
    dots,
    finite,
    head_and_legend,
    line,
    mean_marker,
    styled,
    tidy,
)
from .results import Comparison, title

FRONT = "#999999"


def plane(comparison: Comparison) -> Figure:
    """The primary test metric of two tasks: each seed a dot, each mean a large marker.

    A grey line is the front: below it, some method is at least as good in both tasks
    (its mean over seeds). The area that it leaves to :func:`reference` is its
    hypervolume.
    """
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for result, style in styled(comparison):
        seeds = finite(result.metrics[..., 0])
        (x, y), (dx, dy) = metrics.mean_and_spread(seeds, axis=0)
        if result is comparison.baseline:
            axes.axvline(x, **line(style))
            axes.axhline(y, **line(style))
            continue
        axes.plot(*seeds.T, **dots(style))
        axes.errorbar(x, y, xerr=dx, yerr=dy, **mean_marker(style))
    front = _front(axes, comparison)
    tidy(axes)
    axes.margins(0.12)
    axes.locator_params(axis="x", nbins=5)  # accuracies have long tick labels
    metric = comparison.metric_names[0]
    first, second = comparison.task_names
    axes.set(xlabel=f"{first}: test {metric}", ylabel=f"{second}: test {metric}")
    better(axes, comparison.higher_is_better[0], diagonal=True)
    head_and_legend(figure, title(comparison), styled(comparison), front)
    return figure


def reference(comparison: Comparison) -> np.ndarray | None:
    """Up to where hypervolumes count, ``[K]``: the score of a model that knows nothing.

    Of a score 0; of an error the deviation of the targets, which is that of their mean
    as the prediction; None for errors without one.
    """
    if comparison.higher_is_better[0]:
        return np.zeros(len(comparison.task_names))
    return comparison.units


def _front(axes: Axes, comparison: Comparison) -> list[Line2D]:
    """Draws it; its entry in the legend, or none where one method is best in both."""
    higher = comparison.higher_is_better[0]
    means = np.array(
        [
            metrics.mean_and_spread(finite(result.metrics[..., 0]), axis=0)[0]
            for result in comparison.methods
        ]
    ).reshape(-1, 2)
    points = np.unique(means[metrics.nondominated(means, [higher] * 2)], axis=0)
    if len(points) < 2:
        return []
    steps = "steps-pre" if higher else "steps-post"
    axes.plot(*points.T, color=FRONT, lw=1, drawstyle=steps, zorder=1)
    label = "front of the means"
    if (limit := reference(comparison)) is not None:
        area = metrics.hypervolume(points, limit, [higher] * 2)
        label += f",\nhypervolume {area:.3g} to ({limit[0]:.3g}, {limit[1]:.3g})"
    return [Line2D([], [], color=FRONT, lw=1, label=label)]
