"""Architectures: what a run prints, writes and draws."""

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mtopt.metrics import Metric
from mtopt.metrics.paired import Paired

from ..common.against import MEANING, against, against_text
from ..common.drawing import INK, Style, head, save, style_of, tidy
from ..common.literal import literal_name
from ..common.sheet import UNDEFINED, Block, Cell, Column, Sheet, seeds_column
from ..common.table import to_text


class Scores(NamedTuple):
    """One architecture, trained by one method on one data set.

    Attributes:
      parameters: how many it has.
      values: the test score of every seed, the mean of tasks, ``[S]``.
    """

    parameters: int
    values: np.ndarray

    def __str__(self) -> str:
        return f"{self.values.mean():.4g} by {self.parameters} parameters"


@dataclasses.dataclass(frozen=True)
class Result:
    """All scores.

    Attributes:
      experiment: the name of the title.
      metrics: of each data set, the metric that its scores are of.
      controls: the first so many models are what later ones are compared with.
      scores: by data set, method and model; every one with every other.
    """

    experiment: str
    metrics: dict[str, Metric]
    controls: int
    scores: dict[tuple[str, str, str], Scores]

    @property
    def methods(self) -> list[str]:
        """The methods, in order."""
        return list(dict.fromkeys(method for _, method, _ in self.scores))

    @property
    def models(self) -> list[str]:
        """The architectures, the controls first."""
        return list(dict.fromkeys(name for _, _, name in self.scores))

    def against(self, text: str, method: str, name: str, control: str) -> Paired:
        """How a model stands to a control over the same seeds."""
        one, other = (
            self.scores[text, method, each].values for each in (name, control)
        )
        return against(one, other, self.metrics[text])


def score(values: np.ndarray, metric: Metric) -> np.ndarray:
    """The mean of tasks of every seed; of squared errors, where errors are their roots.

    Args:
      values: the primary metric, ``[S, K]``.
      metric: which one it is.

    Example:
      >>> from mtopt.metrics import metrics_of
      >>> score(np.array([[3.0, 4.0]]), metrics_of("regression")[0]).tolist()
      [12.5]
      >>> score(np.array([[0.5, 0.75]]), metrics_of("binary")[0]).tolist()
      [0.625]
    """
    return (values**2 if metric.name == "rmse" else values).mean(axis=1)


def score_name(metric: Metric) -> str:
    """What :func:`score` is of, and which way is better."""
    name = "mse" if metric.name == "rmse" else metric.name
    return f"{name} {'↑' if metric.higher_is_better else '↓'}"


def table(result: Result) -> str:
    """A block for each data set and method, a row an architecture.

    Example:
      >>> from mtopt.metrics import metrics_of
      >>> two = {"mlp": np.array([0.4, 0.5]), "mmoe": np.array([0.2, 0.3])}
      >>> found = Result("architectures", {"d": metrics_of("regression")[0]}, 1, {
      ...     ("d", "mgda", name): Scores(9, own) for name, own in two.items()})
      >>> print(table(found))  # doctest: +ELLIPSIS
      d, mgda: 2 seeds
      <BLANKLINE>
            parameters ...
    """
    blocks = [
        _block(result, text, method)
        for text in result.metrics
        for method in result.methods
    ]
    legend = [
        f"vs: {MEANING}",
        *(f"{label}: {model}" for model, label in labels(result.models).items()),
    ]
    return to_text(Sheet(blocks, legend, {}))


def _block(result: Result, text: str, method: str) -> Block:
    models, metric = result.models, result.metrics[text]
    short = labels(models)
    rows = [result.scores[text, method, name] for name in models]
    columns = [
        Column("parameters", [Cell(f"{row.parameters:,}") for row in rows]),
        seeds_column(score_name(metric), [row.values for row in rows], 4),
    ]
    for place, control in enumerate(models[: result.controls]):
        cells = [
            Cell(
                against_text(result.against(text, method, name, control), metric)
                if i > place
                else UNDEFINED
            )
            for i, name in enumerate(models)
        ]
        columns.append(Column(f"vs {short[control]}", cells))
    count = len(rows[0].values)
    title = f"{text}, {method}: {count} seed{'s' * (count > 1)}"
    return Block(title, tuple(short.values()), [columns])


def labels(models: Sequence[str]) -> dict[str, str]:
    """Each model by its name alone; by its place, too, among several of one name.

    Example:
      >>> labels(["mlp", "home(rank=0)", "home(rank=8)"])
      {'mlp': 'mlp', 'home(rank=0)': 'home (1)', 'home(rank=8)': 'home (2)'}
    """
    names = [text.partition("(")[0].strip() for text in models]
    return {
        text: name
        if names.count(name) == 1
        else f"{name} ({names[: i + 1].count(name)})"
        for i, (text, name) in enumerate(zip(models, names, strict=True))
    }


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and more, as they go into ``results.json``."""
    found: dict[str, Any] = {}
    for (text, method, name), scores in result.scores.items():
        others = result.models[: result.controls]
        others = others[: result.models.index(name)]
        against = {
            control: result.against(text, method, name, control)._asdict()
            for control in others
        }
        own = {**scores._asdict(), "against": against}
        found.setdefault(text, {}).setdefault(method, {})[name] = own
    return found


def picture(result: Result, path: str | os.PathLike[str]) -> None:
    """Draws what every architecture does against the last control.

    A panel a data set, a row an architecture, a colour a method.
    """
    control = result.models[result.controls - 1]
    shown = result.models[result.controls :]
    size = 4.2 + 3.4 * len(result.metrics), 1.5 + 0.55 * len(shown)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(result.metrics), sharey=True, squeeze=False)[0]
    for panel, (text, metric) in zip(panels, result.metrics.items(), strict=True):
        _panel(panel, result, text, control, shown)
        panel.axvline(0 if metric.higher_is_better else 1, color=INK, lw=1)
        what = "points of" if metric.higher_is_better else "ratio of test"
        panel.set_xlabel(f"{what} {score_name(metric)}", fontsize=9)
        title = textwrap.fill(literal_name(text), 44)
        panel.set_title(title, fontsize=8, loc="left")
        tidy(panel)
    short = labels(result.models)
    rows = [literal_name(short[name]) for name in shown]
    panels[0].set_yticks(range(len(shown)), rows)
    panels[0].set_ylim(len(shown) - 0.5, -0.5)
    handles = [
        Line2D([], [], lw=1.6, label=literal_name(method), **style_of(m))
        for m, method in enumerate(result.methods)
    ]
    figure.legend(handles=handles, loc="outside lower center", frameon=False, ncols=3)
    title = f"{result.experiment}: against {short[control]}, of as many parameters"
    head(figure, literal_name(title))
    save(
        figure,
        path,
        "What every architecture does against a control of as many parameters: a panel "
        "a data set, a row an architecture, a colour a method, bars 95 % intervals.",
    )


def _panel(
    axes: Axes, result: Result, text: str, control: str, shown: Sequence[str]
) -> None:
    methods = result.methods
    for row, name in enumerate(shown):
        for m, method in enumerate(methods):
            found = result.against(text, method, name, control)
            place = row + 0.6 * ((m + 0.5) / len(methods) - 0.5)
            style = style_of(m)
            axes.plot([found.low, found.high], [place] * 2, color=style["color"], lw=2)
            axes.plot(found.mean, place, ls="", ms=5, **_point(style))


def _point(style: Style) -> Style:
    return {"color": style["color"], "marker": style["marker"]}
