"""Learners on real tables: what a run prints, writes and draws."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from mtopt.metrics.ranks import Ranking, ranking

from ...common.drawing import INK, head, save, style_of, tidy
from ...common.table import align, cells
from .. import report as shared
from ..learners import Fitted, name_of
from .config import Config
from .published import SOURCES, published_score
from .tables import Table


@dataclasses.dataclass(frozen=True)
class Result:
    """What all learners predicted.

    Attributes:
      experiment: its name, for titles.
      config: what was run.
      fitted: data set and learner to what it came to, in pairs with the data set.
    """

    experiment: str
    config: Config
    fitted: list[tuple[Table, dict[str, Fitted]]]

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.experiment}: learning rate {self.config.learning_rate:g}"

    @functools.cached_property
    def ranks(self) -> Ranking | None:
        """The learners' ranks, each task of a data set a case; None for one learner.

        A task's score is its mean over seeds; tasks without a test row are left out.
        """
        if len(self.config.methods) < 2:
            return None
        values, higher = [], []
        for data, fitted in self.fitted:
            task, targets = data.test.task, data.test.targets
            rows = [
                shared.scores_of_tasks(
                    data.kind,
                    found.predictions,
                    np.broadcast_to(targets, found.predictions.shape),
                    task,
                    data.num_tasks,
                ).mean(axis=0)
                for found in fitted.values()
            ]
            present = np.unique(task)
            values.append(np.stack(rows)[:, present])
            higher += [data.measure.higher] * len(present)
        return ranking(np.concatenate(values, axis=1), higher)


def scores(data: Table, fitted: Fitted) -> np.ndarray:
    """Both scores of every seed, ``[S, 2]``."""
    targets = np.broadcast_to(data.test.targets, fitted.predictions.shape)
    return shared.scores(data.kind, fitted.predictions, targets)


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and theta, as they go into ``results.json``."""
    sets = {}
    for data, fitted in result.fitted:
        learners = {}
        for name, found in fitted.items():
            values = scores(data, found)
            entry: dict[str, Any] = dict(zip(data.measure.names, values.T, strict=True))
            entry |= {
                "published": published_score(data.name, name),
                "iterations": found.counts,
                "seconds": float(found.seconds),
            }
            if found.counts[:, 1].any():
                entry["theta"] = found.theta
            learners[name] = entry
        sets[data.name] = {
            "tasks": data.num_tasks,
            "train_rows": len(data.train.task),
            "test_rows": len(data.test.task),
            "learners": learners,
        }
    order = result.ranks
    return {
        "data": sets,
        "ranks": order and shared.ranking_results(result.config.methods, order),
    }


def table(result: Result) -> str:
    """A block a data set, ours beside the published, and ranks; no final newline."""
    lines = [result.title]
    for data, fitted in result.fitted:
        lines += ["", *_block(data, fitted)]
    lines += [
        "",
        "published, change: of the first score, and ours against it; ± over seeds of "
        "theta.",
        "s: seconds to compile, fit and predict.",
    ]
    order = result.ranks
    if order is not None:
        lines += shared.ranking_lines(result.config.methods, order, "tasks")
    return "\n".join(lines)


def _block(data: Table, fitted: dict[str, Fitted]) -> list[str]:
    """The lines of one data set."""
    source, found = SOURCES[data.name], fitted.values()
    values = [scores(data, one) for one in found]
    first, second = data.measure.names
    digits = 3 if data.kind == "regression" else 4
    reported = [published_score(data.name, name) for name in fitted]
    changes = [
        100 * (one[:, 0].mean() / old - 1)
        for one, old in zip(values, reported, strict=True)
    ]
    seconds = [source.second.get(name_of(name)) for name in fitted]
    way = "higher" if data.measure.higher else "lower"
    columns = [
        ["", *fitted],
        ["(n1, n2, n3)", *(shared.settings(one.counts) for one in found)],
        [first, *cells([one[:, 0] for one in values], digits)],
        ["published", *(f"{old:.{digits}f}" for old in reported)],
        ["change", *(f"{round(change, 2) + 0.0:+.2f}%" for change in changes)],
        [second, *cells([one[:, 1] for one in values])],
        ["published", *("" if old is None else f"{old:.3f}" for old in seconds)],
        ["s", *(shared.seconds(one) for one in found)],
    ]
    return [
        f"{data.name}: {data.num_tasks} tasks, {len(data.train.task):,} rows to fit, "
        f"{len(data.test.task):,} to test; {first} ({way} is better)",
        "",
        *align(columns),
    ]


def pictures(result: Result) -> dict[str, Callable[[pathlib.Path], None]]:
    """What draws each picture: scores, theta and ranks, as far as there are any."""
    found: dict[str, Callable[[pathlib.Path], None]] = {
        "scores.png": functools.partial(scores_picture, result)
    }
    panels = {
        data.name if len(fitted) == 1 else f"{data.name}: {name}": shared.gates(
            learner.theta
        )
        for data, fitted in result.fitted
        for name, learner in fitted.items()
        if learner.counts[:, 1].all()
    }
    title, order = result.title, result.ranks
    if panels:
        draw = functools.partial(shared.gates_picture, panels, (), title)
        found["theta.png"] = draw
    if order is not None:
        names = result.config.methods
        draw = functools.partial(shared.ranks_picture, names, order, "tasks", title)
        found["ranks.png"] = draw
    return found


def scores_picture(result: Result, path: pathlib.Path) -> None:
    """Draws the primary score of every learner beside the published one.

    Args:
      result: the scores.
      path: the PNG file to write.
    """
    names = result.config.methods
    figure, axes = shared.grid_of(len(result.fitted), 3.0, 0.9 + 0.32 * len(names))
    for k, (panel, (data, fitted)) in enumerate(zip(axes, result.fitted, strict=False)):
        for i, (name, one) in enumerate(fitted.items()):
            values = scores(data, one)[:, 0]
            style = style_of(i)
            old = {"color": "#999999", "lw": 2, "solid_capstyle": "butt", "zorder": 2}
            panel.plot(
                [published_score(data.name, name)] * 2, [i - 0.3, i + 0.3], **old
            )
            dots = {"color": style["color"], "mew": 0, "ms": 4, "alpha": 0.45}
            panel.plot(values, [i] * len(values), "o", **dots)
            mean = {"color": style["color"], "marker": style["marker"], "mec": "white"}
            panel.plot(values.mean(), i, ms=9, zorder=3, **mean)
        tidy(panel)
        panel.margins(x=0.12)
        panel.set_title(data.name, loc="left", fontsize=10, color=INK)
        panel.set_xlabel(f"test {data.measure.names[0]}")
        shared.label_rows(figure, panel, k, names)
    head(figure, result.title)
    handles = [
        Line2D([], [], ls="", marker="o", color=shared.GREY, ms=7, label="ours"),
        Line2D([], [], color="#999999", lw=2, label="published"),
    ]
    place = {"loc": "outside lower left", "ncols": 2}
    figure.legend(handles=handles, frameon=False, fontsize=9, **place)
    save(
        figure,
        path,
        "Scores of the learners, a panel a data set: ours with its spread beside "
        "the published one.",
    )
