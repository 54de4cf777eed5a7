"""Learners on repeated draws of a scenario: what a run prints, writes and draws."""

import dataclasses
import functools
import pathlib
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from mtopt.data.tables.boosting_scenarios import Rows
from mtopt.metrics.ranks import Ranking, ranking

from ...common.table import WIDTH, align, cells, pages
from .. import report as shared
from ..learners import Fitted
from .config import Config

CASE = "tasks of all repeats"


@dataclasses.dataclass(frozen=True)
class Result:
    """What all learners predicted.

    Attributes:
      experiment: its name, for titles.
      config: what was run.
      test: the rows that were predicted, with a leading axis of repeats.
      outliers: the tasks planted as such.
      fitted: learner to what it came to.
    """

    experiment: str
    config: Config
    test: Rows
    outliers: tuple[int, ...]
    fitted: dict[str, Fitted]

    @property
    def title(self) -> str:
        """What was compared on what."""
        return (
            f"{self.experiment}: scenario {self.config.scenario}, {self.config.kind}, "
            f"{self.config.repeats} repeats, learning rate "
            f"{self.config.learning_rate:g}"
        )

    @functools.cached_property
    def ranks(self) -> Ranking | None:
        """The learners' ranks, each task of a repeat a case; None for one learner."""
        if len(self.fitted) < 2:
            return None
        task = self.test.task[0]
        values = [
            shared.scores_of_tasks(
                self.config.kind,
                fitted.predictions,
                self.test.targets,
                task,
                1 + task.max(),
            ).ravel()
            for fitted in self.fitted.values()
        ]
        higher = shared.MEASURES[self.config.kind].higher
        return ranking(values, np.full(len(values[0]), higher))


def parts(result: Result) -> dict[str, np.ndarray]:
    """The rows that are scored: all and, where outliers are planted, both groups."""
    task = result.test.task[0]
    found = {"all tasks": np.ones(len(task), bool)}
    if result.outliers:
        planted = np.isin(task, result.outliers)
        found |= {"regular tasks": ~planted, "outliers": planted}
    return found


def scores(result: Result) -> dict[str, dict[str, np.ndarray]]:
    """Part to learner to both scores of every repeat, ``[R, 2]``."""
    kind, targets = result.config.kind, result.test.targets
    return {
        part: {
            name: shared.scores(kind, fitted.predictions[:, rows], targets[:, rows])
            for name, fitted in result.fitted.items()
        }
        for part, rows in parts(result).items()
    }


def apart(result: Result) -> dict[str, np.ndarray]:
    """In which repeats the planted tasks have the highest sigma(theta), or the lowest.

    Of the learners whose theta means anything; none where nothing is planted.
    """
    found = {}
    if result.outliers:
        for name, theta in _thetas(result).items():
            planted = np.isin(np.arange(theta.shape[1]), result.outliers)
            a, b = theta[:, planted], theta[:, ~planted]
            above, below = a.min(1) > b.max(1), a.max(1) < b.min(1)
            found[name] = above | below
    return found


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and more, as they go into ``results.json``."""
    names = shared.MEASURES[result.config.kind].names
    found, separated = scores(result), apart(result)
    thetas = _thetas(result)
    learners = {}
    for name, fitted in result.fitted.items():
        entry: dict[str, Any] = {
            part: dict(zip(names, values[name].T, strict=True))
            for part, values in found.items()
        }
        entry |= {"iterations": fitted.counts, "seconds": float(fitted.seconds)}
        if name in thetas:
            entry["theta"] = thetas[name]
        if name in separated:
            entry["outliers_apart"] = separated[name]
        learners[name] = entry
    order = result.ranks
    return {
        "scenario": result.config.scenario,
        "kind": result.config.kind,
        "repeats": result.config.repeats,
        "outliers": result.outliers,
        "learners": learners,
        "ranks": order and shared.ranking_results([*result.fitted], order),
    }


def table(result: Result) -> str:
    """The scores, whether outliers were found, and ranks, without a final newline."""
    measure, found = shared.MEASURES[result.config.kind], scores(result)
    best = _best(found["all tasks"], measure.higher)
    fitted = result.fitted.values()
    counts = ["(n1, n2, n3)", *(shared.settings(one.counts) for one in fitted)]
    primary = [
        [part, *cells([values[:, 0] for values in learners.values()])]
        for part, learners in found.items()
    ]
    others = [
        [measure.names[1], *cells([v[:, 1] for v in found["all tasks"].values()])],
        ["best in", *(str(best[name]) for name in result.fitted)],
        ["s", *(shared.seconds(one) for one in fitted)],
    ]
    way = "higher" if measure.higher else "lower"
    lines = [result.title, f"test {measure.names[0]} ({way} is better)", ""]
    pieces = [[counts], *([own] for own in primary), others]
    for columns in pages(["", *result.fitted], pieces):
        lines += [*align(columns), ""]
    lines += [
        f"{measure.names[1]}: of all tasks. best in: repeats with the best "
        f"{measure.names[0]} of all tasks.",
        "s: seconds to compile, fit and predict all repeats.",
    ]
    for name, which in apart(result).items():
        text = (
            f"Outliers apart: in {which.sum()} of {len(which)} repeats {name} gives "
            "the planted tasks the highest, or the lowest, theta."
        )
        lines += textwrap.wrap(text, WIDTH)
    order = result.ranks
    if order is not None:
        lines += shared.ranking_lines([*result.fitted], order, CASE)
    return "\n".join(lines)


def pictures(result: Result) -> dict[str, Callable[[pathlib.Path], None]]:
    """What draws each picture: scores, theta and ranks, as far as there are any."""
    measure = shared.MEASURES[result.config.kind]
    panels = {
        part: {name: values[:, 0] for name, values in learners.items()}
        for part, learners in scores(result).items()
    }
    found = {"scores.png": _drawn(shared.boxes_picture, panels, measure, result.title)}
    thetas = {name: shared.gates(theta) for name, theta in _thetas(result).items()}
    if thetas:
        drawn = _drawn(shared.gates_picture, thetas, result.outliers, result.title)
        found["theta.png"] = drawn
    order = result.ranks
    if order is not None:
        names = [*result.fitted]
        found["ranks.png"] = _drawn(
            shared.ranks_picture, names, order, CASE, result.title
        )
    return found


def _drawn(
    function: Callable[..., None], *arguments: Any
) -> Callable[[pathlib.Path], None]:
    return functools.partial(function, *arguments)


def _thetas(result: Result) -> dict[str, np.ndarray]:
    """Theta of the learners that have a block 2 in every repeat."""
    fitted = result.fitted.items()
    return {name: f.theta for name, f in fitted if (f.counts[:, 1] > 0).all()}


def _best(values: dict[str, np.ndarray], higher: bool) -> dict[str, int]:
    """How often each learner has the best score; equal ones all count."""
    table = np.stack([found[:, 0] for found in values.values()])
    best = table.max(axis=0) if higher else table.min(axis=0)
    return dict(zip(values, (table == best).sum(axis=1).tolist(), strict=True))
