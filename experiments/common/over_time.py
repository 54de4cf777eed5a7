"""Numbers of every task over training, from the records of a run."""

import os
import pathlib
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.metrics import mean_and_spread
from mtopt.training.loop import read_per_task

from .drawing import COLOURS, INK, OTHERS, head, save, tidy
from .literal import literal_name
from .results import Comparison
from .run_folder import folder_name
from .standing import ranked

WORDS = {
    "weights": "weights of the tasks",
    "task_weights": "outlier weights of the tasks",
    "outlier_logit": "outlier logits of the tasks",
    "norm": "lengths of the tasks' gradients",
    "descent": "cosines of the tasks' gradients with the way of the step",
}
"""Of the numbers in the records, those that have a picture."""
LOGARITHMIC = ("norm",)
MAX_PANELS = 12


class History(NamedTuple):
    """What one method recorded of its tasks.

    Attributes:
      method: its name.
      tasks: the K names; none of a number of the whole model.
      step: ``[T]``.
      values: ``[S, T, K, ...]``, or ``[S, T]``; nan after a model has stopped.
    """

    method: str
    tasks: tuple[str, ...]
    step: np.ndarray
    values: np.ndarray


def histories(
    folder: pathlib.Path, parts: Sequence[Comparison], number: str
) -> list[History]:
    """Of the methods whose number of each task changes in training, all seeds.

    Args:
      folder: of the run.
      parts: its comparisons; their order of methods is kept.
      number: one of :data:`WORDS`.
    """
    return [
        history
        for history in recorded(folder, parts, number, read_per_task)
        if _changes(history.values)
    ]


def recorded(
    folder: pathlib.Path,
    parts: Sequence[Comparison],
    number: str,
    read: Callable[[pathlib.Path, str], dict[str, np.ndarray]],
) -> list[History]:
    """A number in the records of every method that has it, all seeds.

    Args:
      folder: of the run.
      parts: its comparisons; their order of methods is kept.
      number: its name.
      read: :func:`mtopt.training.loop.read_per_task` or ``read_per_model``.
    """
    found = [of_run(folder, method.name, number, read) for method in parts[0].methods]
    return [history for history in found if history is not None]


def of_run(
    folder: pathlib.Path,
    text: str,
    number: str,
    read: Callable[[pathlib.Path, str], dict[str, np.ndarray]],
) -> History | None:
    """A number in the records of one method, all seeds; None where it has none.

    Args:
      folder: of the run.
      text: of the method, which decides its folder.
      number: its name.
      read: as for :func:`recorded`.
    """
    places = sorted((folder / folder_name(text)).glob("seed-*"))
    stacks = [read(place, number) for place in places]
    stacks = [stack for stack in stacks if stack["values"].size]
    if not stacks:
        return None
    longest = max(stacks, key=lambda stack: len(stack["step"]))
    values = [_until(stack["values"], len(longest["step"])) for stack in stacks]
    tasks = tuple(map(str, longest.get("tasks", ())))
    return History(text, tasks, longest["step"], np.concatenate(values))


def over_time(
    folder: pathlib.Path,
    parts: Sequence[Comparison],
    number: str,
    path: str | os.PathLike[str],
) -> None:
    """Draws a number of every task over the steps, a panel a method.

    Lines are means over seeds, shades reach from the lowest to the highest seed. Of
    more than 6 tasks, those that end farthest from the others have colours and names,
    the others are grey.

    Args:
      folder: of the run; see :func:`histories`, which may not be empty.
      parts: its comparisons.
      number: one of :data:`WORDS`.
      path: the PNG file to write.
    """
    every = histories(folder, ranked(parts), number)
    shown = every[:MAX_PANELS]
    coloured = _foremost(shown)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    size = (2 + 3.6 * columns, 0.8 + 2.5 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for i, axes in enumerate(panels):
        if i >= len(shown):
            axes.axis("off")
            continue
        _panel(axes, shown[i], coloured)
        if number in LOGARITHMIC:
            axes.set_yscale("log")
        axes.set_title(_wrapped(shown[i].method), loc="left", fontsize=8, color=INK)
        if i + columns >= len(shown):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("step")
    of_all = f", the best {len(shown)} of {len(every)} methods"
    more = of_all if len(every) > len(shown) else ""
    title = f"{parts[0].experiment}: {WORDS[number]} in training{more}"
    head(figure, literal_name(title))
    handles = [
        Line2D([], [], color=colour, lw=1.6, label=textwrap.shorten(_plain(task), 40))
        for task, colour in coloured.items()
    ]
    others = len(shown[0].tasks) - len(coloured)
    if others > 0:
        label = f"{others} others"
        handles.append(Line2D([], [], color=OTHERS, lw=1.6, label=label))
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, fontsize=9
    )
    what = f"{WORDS[number].capitalize()} against the step, a panel a method."
    save(figure, path, what)


def _changes(values: np.ndarray) -> bool:
    """Whether a number is another one at some step, rounding apart."""
    known = ~np.isnan(values)
    first = np.broadcast_to(values[:, :1], values.shape)
    return not np.allclose(values[known], first[known], rtol=1e-4, atol=1e-6)


def _panel(axes: Axes, history: History, coloured: dict[str, str]) -> None:
    """One method: the grey tasks first."""
    colours = [coloured.get(task, OTHERS) for task in history.tasks]
    for k in sorted(range(len(colours)), key=lambda k: colours[k] != OTHERS):
        colour = colours[k]
        values = history.values[..., k]
        low, high = np.fmin.reduce(values), np.fmax.reduce(values)
        if colour != OTHERS:
            axes.fill_between(history.step, low, high, color=colour, alpha=0.15, lw=0)
        mean = mean_and_spread(values, axis=0)[0]
        axes.plot(history.step, mean, color=colour, lw=1.4 if colour != OTHERS else 0.8)
    tidy(axes)


def _foremost(shown: Sequence[History]) -> dict[str, str]:
    """The tasks with a colour of their own: all, or those that end farthest away."""
    tasks = shown[0].tasks
    far = np.zeros(len(tasks))
    for history in shown:
        last = np.nanmean(_last(history.values), axis=0)
        scale = np.nanstd(last) or 1.0
        far = np.fmax(far, abs(last - np.nanmedian(last)) / scale)
    chosen = sorted(np.argsort(-far, kind="stable")[: len(COLOURS)].tolist())
    return {tasks[k]: colour for k, colour in zip(chosen, COLOURS, strict=False)}


def _last(values: np.ndarray) -> np.ndarray:
    """The last number of every seed and task before it stopped, ``[S, K]``."""
    steps = np.arange(values.shape[1])[:, None]
    last = np.where(np.isnan(values), 0, steps).max(axis=1, keepdims=True)
    return np.take_along_axis(values, last, axis=1)[:, 0]


def _until(values: np.ndarray, count: int) -> np.ndarray:
    """Records ``[S, T, ...]`` up to ``count``, nan after a model has stopped."""
    seeds, steps, *rest = values.shape
    missing = np.full((seeds, count - steps, *rest), np.nan)
    return np.concatenate([values, missing], axis=1)


def _plain(name: str) -> str:
    """On one line, letter by letter."""
    return literal_name(" ".join(name.split()))


def _wrapped(method: str) -> str:
    return "\n".join(textwrap.wrap(_plain(method), 54))
