"""Raters: what a run prints, writes and draws."""

import dataclasses
import os
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtopt.metrics import paired_interval

from ..common.drawing import COLOURS, head, save, tidy
from ..common.paired import with_interval
from ..common.sheet import UNDEFINED
from ..common.table import WIDTH, align, cells


@dataclasses.dataclass(frozen=True)
class Scored:
    """One head on all splits.

    Attributes:
      scores: ``[S, 3]``: the negative log-likelihood of a held-out rating, the error of
        its median in levels, and the penalty of the raters' parameters.
      severities: ``[S, R]`` in logits, or None.
    """

    scores: np.ndarray
    severities: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Result:
    """All heads; ``experiment`` is the name of the title."""

    experiment: str
    heads: dict[str, Scored]


def table(result: Result) -> str:
    """A row a head, as text without a final newline.

    Example:
      >>> rows = np.array([[2.0, 1.5, 3.0], [2.1, 1.6, 3.0]])
      >>> found = Result("raters", {"adjacent": Scored(rows, None)})
      >>> print(table(found))  # doctest: +ELLIPSIS
      raters: ratings that were held out, mean ± standard deviation over 2 splits
      <BLANKLINE>
                ...
    """
    heads = result.heads
    scores = [scored.scores for scored in heads.values()]
    splits = len(scores[0])
    base = scores[0][:, 0]
    what = (
        f"{result.experiment}: ratings that were held out, mean ± standard deviation "
        f"over {splits} splits"
    )
    first = next(iter(heads))
    columns = [
        ["", *heads],
        ["NLL ↓", *cells([one[:, 0] for one in scores], 3)],
        [f"minus {first}", UNDEFINED, *(_minus(s[:, 0], base) for s in scores[1:])],
        ["median off by ↓", *cells([one[:, 1] for one in scores], 3)],
        ["penalty", *(_penalties(one) for one in heads.values())],
    ]
    legend = (
        "NLL: negative log-likelihood of a rating, in nats; minus: the difference "
        "split by split [95 % interval]. penalty: of the parameters of the raters, "
        "chosen on validation data of each split."
    )
    lines = [*textwrap.wrap(what, WIDTH), "", *align(columns), ""]
    return "\n".join([*lines, *textwrap.wrap(legend, WIDTH)])


def _minus(values: np.ndarray, base: np.ndarray) -> str:
    return with_interval(paired_interval(values, base), 3)


def _penalties(scored: Scored) -> str:
    chosen = sorted(set(scored.scores[:, 2].tolist()))
    return ", ".join(f"{one:g}" for one in chosen) if any(chosen) else UNDEFINED


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and more, as they go into ``results.json``."""
    return {
        "heads": {
            name: {
                "negative_log_likelihood": scored.scores[:, 0],
                "median_error": scored.scores[:, 1],
                "penalty": scored.scores[:, 2],
                "severities": scored.severities,
            }
            for name, scored in result.heads.items()
        }
    }


def picture(result: Result, path: str | os.PathLike[str]) -> None:
    """Draws the scores of every split, and the severities of two splits."""
    severe = {
        name: scored.severities
        for name, scored in result.heads.items()
        if scored.severities is not None
    }
    figure = Figure(figsize=(5 + 3.4 * bool(severe), 3.4), layout="constrained")
    panels = figure.subplots(1, 1 + bool(severe), squeeze=False)[0]
    rows = np.arange(len(result.heads))
    for row, scored in zip(rows, result.heads.values(), strict=True):
        values = scored.scores[:, 0]
        panels[0].plot(values, np.full(len(values), row), "o", color=COLOURS[0])
    panels[0].set_yticks(rows, list(result.heads))
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_xlabel("negative log-likelihood of a held-out rating")
    for colour, (name, values) in zip(COLOURS, severe.items(), strict=False):
        style = {"ls": "", "ms": 3, "color": colour, "label": name}
        panels[1].plot(values[0], values[-1], marker="o", **style)
    if severe:
        panels[1].set_xlabel("severity, first split (logits)")
        panels[1].set_ylabel("severity, last split")
        panels[1].legend(frameon=False, fontsize=8)
    for panel in panels:
        tidy(panel)
    head(figure, f"{result.experiment}: what a severity for every rater is worth")
    save(
        figure,
        path,
        "The score of every held-out split, a row a head, and the severity of "
        "every rater on two splits against each other.",
    )
