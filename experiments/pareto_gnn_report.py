"""What pretext tasks gave an encoder, as a table and a picture."""

import dataclasses
import os
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.pictures import INK, head, save, style_of, tidy
from experiments.table import align, cells
from mtopt.metrics import mean_rank

METRICS = ("classification", "partition", "NMI", "link AUC", "Hits@20")
RANKED = 4  # Hits@20 is of the same task as the AUC
LEGEND = """\
Classification and partition: test accuracy of logistic regression on frozen embeddings
({cut}). NMI: k-means against the classes. Link AUC,
Hits@20: held-out edges, from an encoder that never saw them. Means and standard
deviations over seeds; higher is better. Rank: mean over the first four columns among
the trained encoders; 1 is best."""


@dataclasses.dataclass(frozen=True)
class Downstream:
    """What was trained, and what its embeddings reached.

    Attributes:
      experiment: its name, for titles.
      data: the name of the graph.
      steps: of every encoder.
      pretexts: the names of the tasks that methods reconcile, sorted.
      scores: row to ``[S, 5]``, a column for each of :data:`METRICS`; the first two
        rows are not trained.
      records: method to the training records of every seed.
      metis: whether METIS cut the graph.
    """

    experiment: str
    data: str
    steps: int
    pretexts: tuple[str, ...]
    scores: dict[str, np.ndarray]
    records: dict[str, list[list[dict[str, Any]]]]
    metis: bool


def table(result: Downstream) -> str:
    """The scores, and what the methods made of the pretexts, without a final newline.

    Example:
      >>> scores = {name: np.full((1, 5), 0.5) for name in ("raw", "untrained", "mgda")}
      >>> print(table(Downstream("demo", "ring", 9, ("a",), scores, {}, True)))
      ... # doctest: +ELLIPSIS
      demo on ring: frozen embeddings after 9 steps, 1 seed
      <BLANKLINE>
                 classification  partition    NMI  link AUC  Hits@20  rank ↓
      ---------...
      raw                 0.500      0.500  0.500     0.500    0.500       –
      untrained           0.500      0.500  0.500     0.500    0.500       –
      mgda                0.500      0.500  0.500     0.500    0.500    1.00
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
    for text, seeds in result.records.items():
        lines += ["", *_pretext_lines(text, seeds, result.pretexts)]
    return "\n".join(lines)


def mean_ranks(result: Downstream) -> dict[str, float]:
    """The mean rank of every trained encoder over the four downstream tasks."""
    trained = list(result.scores)[2:]
    means = np.array([result.scores[name].mean(axis=0)[:RANKED] for name in trained])
    return dict(zip(trained, mean_rank(means, [True] * RANKED).tolist(), strict=True))


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
                "weights": _mean(seeds, "weights", result.pretexts),
                "norms": _mean(seeds, "norm", result.pretexts),
                "cosines": _mean_cosines(seeds),
            }
            for text, seeds in result.records.items()
        },
    }


def picture(result: Downstream, path: str | os.PathLike[str]) -> None:
    """Draws the weights over time, and the mean cosines of the tasks' gradients.

    Args:
      result: a row of panels for each method.
      path: the PNG file to write.
    """
    count = len(result.records)
    figure = Figure(figsize=(11, 0.8 + 3.4 * count), layout="constrained")
    panels = figure.subplots(count, 2, squeeze=False)
    labels = [name.replace("_", " ") for name in result.pretexts]
    for (left, right), (text, seeds) in zip(
        panels, result.records.items(), strict=True
    ):
        for i, (name, label) in enumerate(zip(result.pretexts, labels, strict=True)):
            steps, weights = _course(seeds, name)
            left.plot(steps, weights, label=label, ms=0, lw=1.6, **_line(i))
        tidy(left)
        left.set_ylim(bottom=0)
        left.set(xlabel="step", ylabel="weight")
        left.set_title(text, loc="left", fontsize=10, color=INK)
        matrix = _mean_cosines(seeds)
        image = right.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
        for i, j in np.ndindex(*matrix.shape):
            right.text(
                j, i, f"{matrix[i, j]:+.2f}", ha="center", va="center", fontsize=8
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
    save(figure, path)


def _line(i: int) -> dict[str, Any]:
    style = style_of(i)
    return {"color": style["color"], "linestyle": style["linestyle"]}


def _course(seeds: list[list[dict[str, Any]]], name: str) -> tuple[list, np.ndarray]:
    """Steps, and the mean weight of a task over seeds."""
    weighed = [[r for r in records if "weights" in r] for records in seeds]
    steps = [record["step"] for record in weighed[0]]
    weights = [[record["weights"][name] for record in own] for own in weighed]
    return steps, np.mean(weights, axis=0)


def _pretext_lines(
    text: str, seeds: list[list[dict[str, Any]]], pretexts: tuple[str, ...]
) -> list[str]:
    """A row for each pretext: its weight, its gradient's norm, its conflicts."""
    weights = _mean(seeds, "weights", pretexts)
    norms = _mean(seeds, "norm", pretexts)
    cosine = _mean_cosines(seeds)
    share = np.array(norms) * np.array(weights)
    columns = [
        [text, *pretexts],
        ["weight", *(f"{w:.3f}" for w in weights)],
        ["norm", *(f"{n:.3g}" for n in norms)],
        ["weight x norm", *(f"{s:.2g}" for s in share)],
        *(
            [name[:14], *(f"{cosine[i, k]:+.2f}" for i in range(len(pretexts)))]
            for k, name in enumerate(pretexts)
        ),
    ]
    return [
        *align(columns),
        "Means over training; the last columns are cosines of gradients.",
    ]


def _mean(seeds, field: str, pretexts: tuple[str, ...]) -> list[float]:
    """The mean over seeds and records of a number of every task; nan without any."""
    rows = [
        [record[field][name] for name in pretexts]
        for records in seeds
        for record in records
        if field in record
    ]
    return np.mean(rows, axis=0).tolist() if rows else [float("nan")] * len(pretexts)


def _mean_cosines(seeds) -> np.ndarray:
    found = [r["cosine"] for records in seeds for r in records if "cosine" in r]
    return np.mean(np.array(found, float), axis=0)


def _rank(ranks: dict[str, float], name: str) -> str:
    return f"{ranks[name]:.2f}" if name in ranks else "–"


def _title(result: Downstream) -> str:
    seeds = len(next(iter(result.scores.values())))
    count = f"{seeds} seed" + "s" * (seeds > 1)
    where = f"{result.experiment} on {result.data}"
    return f"{where}: frozen embeddings after {result.steps:,} steps, {count}"
