"""What pretext tasks gave an encoder, as a table and a picture."""

import dataclasses
import os
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mtopt.metrics import mean_rank

from ..common.drawing import INK, head, save, style_of, tidy
from ..common.table import align, cells

RAW, UNTRAINED = "raw features", "untrained encoder"
METRICS = ("classification", "partition", "NMI", "link AUC", "Hits@20")
RANKED = 4  # Hits@20 is of the same task as the AUC
LEGEND = """\
Classification and partition: test accuracy of logistic regression on frozen embeddings
({cut}). NMI: k-means against the classes. Link AUC,
Hits@20: held-out edges, from an encoder that never saw them. Means and standard
deviations over seeds; higher is better. Rank: mean over the first four columns among
the trained encoders; 1 is best."""

PRETEXT_LEGEND = """\
Weight, length of the gradient and cosines between gradients: means over training. Where
the method stands alone, each pretext moves the encoder by weight times gradient."""


class PretextHistory(NamedTuple):
    """What a method's training records hold, for S seeds, T steps and K pretexts.

    Attributes:
      steps: ``[T]``.
      losses: ``[S, T, K]``.
      weights: ``[S, T, K]``; empty for a method without any.
      norms: of the gradients, ``[S, T, K]``; empty for a pretext alone.
      cosines: between them, ``[S, T, K, K]``; likewise.
    """

    steps: np.ndarray
    losses: np.ndarray
    weights: np.ndarray
    norms: np.ndarray
    cosines: np.ndarray


@dataclasses.dataclass(frozen=True)
class Downstream:
    """What was trained, and what its embeddings reached.

    Attributes:
      experiment: its name, for titles.
      data: the name of the graph.
      steps: of every encoder.
      pretexts: the names of the tasks that methods reconcile, sorted.
      scores: row to ``[S, 5]``, a column for each of :data:`METRICS`; the first two,
        :data:`RAW` (one seed) and :data:`UNTRAINED`, are not trained.
      histories: method to its records.
      metis: whether METIS cut the graph.
    """

    experiment: str
    data: str
    steps: int
    pretexts: tuple[str, ...]
    scores: dict[str, np.ndarray]
    histories: dict[str, PretextHistory]
    metis: bool


def table(result: Downstream) -> str:
    """The scores, and what the methods made of the pretexts, without a final newline.

    Example:
      >>> scores = {name: np.full((1, 5), 0.5) for name in (RAW, UNTRAINED, "mgda")}
      >>> print(table(Downstream("demo", "ring", 9, ("a",), scores, {}, True)))
      ... # doctest: +ELLIPSIS
      demo on ring: frozen embeddings after 9 steps, 1 seed
      <BLANKLINE>
                         classification  partition    NMI  link AUC  Hits@20  rank ↓
      -----------------...
      raw features                0.500      0.500  0.500     0.500    0.500       –
      untrained encoder           0.500      0.500  0.500     0.500    0.500       –
      mgda                        0.500      0.500  0.500     0.500    0.500    1.00
      <BLANKLINE>
      Classification and partition: ...
    """
    names = list(result.scores)
    scores = [result.scores[name] for name in names]
    columns = [["", *names]]
    for m, metric in enumerate(METRICS):
        columns.append([metric, *cells([own[:, m] for own in scores], 3)])
    ranks = mean_ranks(result)
    columns.append(["rank ↓", *(_rank(ranks, name) for name in names)])
    legend = LEGEND.format(
        cut="parts by METIS" if result.metis else "parts by spectral clustering"
    )
    lines = [_title(result), "", *align(columns), "", legend]
    if len(result.pretexts) > 1:
        for text, history in result.histories.items():
            lines += ["", *_pretext_lines(text, history, result.pretexts)]
        lines += ["", PRETEXT_LEGEND]
    return "\n".join(lines)


def mean_ranks(result: Downstream) -> dict[str, float]:
    """The mean rank of every trained encoder over the four downstream tasks.

    Tasks that have no score at all, for want of classes, take no part.
    """
    trained = list(result.scores)[2:]
    means = np.array([result.scores[name].mean(axis=0)[:RANKED] for name in trained])
    means = means[:, ~np.isnan(means).all(axis=0)]
    ranks = mean_rank(means, [True] * means.shape[1])
    return dict(zip(trained, ranks.tolist(), strict=True))


def summary(result: Downstream) -> dict[str, Any]:
    """The numbers of :func:`table`, as ``results.json`` holds them."""
    return {
        "data": result.data,
        "steps": result.steps,
        "metrics": list(METRICS),
        "scores": result.scores,
        "rank": mean_ranks(result),
        "partition": "metis" if result.metis else "spectral clustering",
        "pretexts": {
            text: {
                "weights": _mean(history.weights),
                "norms": _mean(history.norms),
                "cosines": _mean(history.cosines),
            }
            for text, history in result.histories.items()
        },
    }


def picture(result: Downstream, path: str | os.PathLike[str]) -> None:
    """Draws what the tasks weigh, how long their gradients are, and how they agree.

    Args:
      result: a row of panels for each method.
      path: the PNG file to write.
    """
    count = len(result.histories)
    figure = Figure(figsize=(15, 0.8 + 3.4 * count), layout="constrained")
    panels = figure.subplots(count, 3, squeeze=False)
    labels = [name.replace("_", " ") for name in result.pretexts]
    for (left, middle, right), (text, history) in zip(
        panels, result.histories.items(), strict=True
    ):
        for i, label in enumerate(labels):
            weights = _over_seeds(history)[:, i]
            left.plot(history.steps, weights, label=label, lw=1.6, **_line(i))
            lengths = history.norms.mean(axis=0)[:, i]
            middle.plot(history.steps, lengths, lw=1.6, **_line(i))
        tidy(left)
        tidy(middle)
        left.set_ylim(bottom=0)
        left.set(xlabel="step", ylabel="weight")
        middle.set(xlabel="step", ylabel="length of the gradient", yscale="log")
        left.set_title(text, loc="left", fontsize=10, color=INK)
        matrix = np.array(_mean(history.cosines))
        image = right.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
        for i, j in np.ndindex(*matrix.shape):
            right.text(
                j,
                i,
                f"{matrix[i, j]:+.2f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if abs(matrix[i, j]) > 0.6 else INK,
            )
        right.set_xticks(range(len(labels)), labels, rotation=25, ha="right")
        right.set_yticks(range(len(labels)), labels)
        right.tick_params(labelsize=8, length=0)
        figure.colorbar(image, ax=right, shrink=0.8, label="cosine of gradients")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower left", ncols=3, frameon=False, fontsize=9
    )
    head(figure, f"{_title(result)}: weights and conflicts of the pretexts")
    save(
        figure,
        path,
        "A row a method: the weights of the pretexts over training, the lengths "
        "of their gradients, and a matrix of the cosines between them.",
    )


def _line(i: int) -> dict[str, Any]:
    style = style_of(i)
    return {"color": style["color"], "linestyle": style["linestyle"]}


def _over_seeds(history: PretextHistory) -> np.ndarray:
    """Mean weights ``[T, K]``; NaN for a method that has none."""
    if not history.weights.size:
        return np.full(history.losses.shape[1:], np.nan)
    return history.weights.mean(axis=0)


def _pretext_lines(
    text: str, history: PretextHistory, pretexts: tuple[str, ...]
) -> list[str]:
    """A row for each pretext: its weight, its gradient's length, its conflicts."""
    weights = _over_seeds(history).mean(axis=0)
    norms, cosines = _mean(history.norms), _mean(history.cosines)
    columns = [
        [text, *pretexts],
        ["weight", *(f"{w:.3f}" for w in weights)],
        ["gradient", *(f"{n:.3g}" for n in norms)],
        *(
            [name[:14], *(f"{row[k]:+.2f}" for row in cosines)]
            for k, name in enumerate(pretexts)
        ),
    ]
    return align(columns)


def _mean(values: np.ndarray) -> list[Any]:
    """Over seeds and steps; nothing of nothing."""
    return values.mean(axis=(0, 1)).tolist() if values.size else []


def _rank(ranks: dict[str, float], name: str) -> str:
    return f"{ranks[name]:.2f}" if name in ranks else "–"


def _title(result: Downstream) -> str:
    seeds = len(result.scores[UNTRAINED])
    count = f"{seeds} seed" + "s" * (seeds > 1)
    where = f"{result.experiment} on {result.data}"
    return f"{where}: frozen embeddings after {result.steps:,} steps, {count}"
