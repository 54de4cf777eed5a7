"""What the gates of a model weigh over training, from the records of a run."""

import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.training.loop import read_per_task
from mtopt.training.measured_gates import DEAD_EXPERTS, MASS
from mtopt.training.writer import read_records

from .drawing import COLOURS, INK, OTHERS, head, save, tidy
from .literal import literal_name
from .run_folder import folder_name

MAX_ROWS = 6
MAX_TASKS = 6


class Masses(NamedTuple):
    """What one gate of the first model of a run weighed.

    Attributes:
      title: the run, and which of its gates.
      tasks: the K names.
      step: ``[T]``.
      values: ``[T, K, E]``.
      dead: the experts that were dead at the last record, by their names.
    """

    title: str
    tasks: tuple[str, ...]
    step: np.ndarray
    values: np.ndarray
    dead: tuple[str, ...]


def masses(folder: pathlib.Path, runs: Sequence[str]) -> list[Masses]:
    """Those of all runs that measured gates, one entry a gate.

    Args:
      folder: what the folders of the runs are in.
      runs: their texts, which decide their folders.
    """
    return [found for text in runs for found in _of_run(folder, text)]


def gate_masses(
    title: str, found: Sequence[Masses], path: str | os.PathLike[str]
) -> None:
    """Draws what each expert weighs in each task over the steps, a row a gate.

    Of the first seed: experts of two seeds have nothing but their numbers in common,
    and a mean over seeds would be 1/E everywhere. Up to 6 gates and 6 tasks are drawn.

    Args:
      title: of the picture.
      found: what to draw, one at least; see :func:`masses`.
      path: the PNG file to write.
    """
    shown = found[:MAX_ROWS]
    columns = min(max(len(each.tasks) for each in shown), MAX_TASKS)
    size = 2.4 + 2.3 * columns, 0.9 + 1.9 * len(shown)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(
        len(shown), columns, squeeze=False, sharex=True, sharey=True
    )
    for row, each in zip(panels, shown, strict=True):
        for k, axes in enumerate(row):
            if k >= len(each.tasks):
                axes.axis("off")
                continue
            _panel(axes, each, k)
        row[0].set_ylabel(_row_name(each), fontsize=8, color=INK)
    panels[0, 0].set_ylim(-0.03, 1.03)
    for axes in panels[-1]:
        axes.set_xlabel("step")
    left_out = len(found) - len(shown)
    more = f", the first {len(shown)} of {len(found)} gates" if left_out else ""
    head(figure, literal_name(f"{title}: what each expert weighs, first seed{more}"))
    experts = max(each.values.shape[-1] for each in shown)
    handles = [
        Line2D([], [], color=_colour(e), lw=1.6, label=f"expert {e}")
        for e in range(min(experts, len(COLOURS)))
    ]
    if experts > len(COLOURS):
        label = f"{experts - len(COLOURS)} others"
        handles.append(Line2D([], [], color=OTHERS, lw=1.6, label=label))
    place = "outside right center"
    figure.legend(handles=handles, loc=place, frameon=False, fontsize=9)
    what = "The mass of every expert against the step: a row a gate, a column a task."
    save(figure, path, what)


def _of_run(folder: pathlib.Path, text: str) -> list[Masses]:
    places = sorted((folder / folder_name(text)).glob("seed-*"))
    if not places:
        return []
    records = read_records(places[0] / "metrics.jsonl")
    measured = [each for each in records if any(name.startswith(MASS) for name in each)]
    if not measured:
        return []
    last = measured[-1]
    first_seed = [each for each in measured if each["seed"] == measured[0]["seed"]]
    dead = tuple(first_seed[-1].get(DEAD_EXPERTS, ()))
    names = [name for name in last if name.startswith(f"{MASS}/")]
    found = []
    for name in names:
        curve = read_per_task(places[0], name)
        gate = name.removeprefix(f"{MASS}/")
        own = text if len(names) == 1 else f"{text}, {gate}"
        tasks = tuple(map(str, curve["tasks"]))
        found.append(Masses(own, tasks, curve["step"], curve["values"][0], dead))
    return found


def _panel(axes: Axes, found: Masses, k: int) -> None:
    for e in range(found.values.shape[-1]):
        axes.plot(found.step, found.values[:, k, e], color=_colour(e), lw=1.4)
    tidy(axes)
    task = textwrap.shorten(found.tasks[k], 24)
    axes.set_title(literal_name(task), loc="left", fontsize=8, color=INK)


def _colour(expert: int) -> str:
    return COLOURS[expert] if expert < len(COLOURS) else OTHERS


def _row_name(found: Masses) -> str:
    name = textwrap.fill(literal_name(" ".join(found.title.split())), 24)
    return f"{name}\ndead: {', '.join(found.dead)}" if found.dead else name
