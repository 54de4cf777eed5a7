"""What was measured of trained models, as numbers and as a table."""

import dataclasses
from typing import Any

import numpy as np

from ..common.table import align, cells, pages

CONFLICT_BATCHES = 20


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one method's models are like, over S seeds and K tasks.

    Attributes:
      name: the method.
      loss: of the whole test split, ``[S, K]``.
      sharpness: rise of the loss in the ball, ``[S, K]``.
      conflict: share of conflicting pairs, ``[S]``; nan for one task.
      layers: names of the layers that have an exponent, ``L``.
      alphas: their exponents, ``[S, L]``.
      lines: losses along the first direction, ``[S, P, K]``.
      surface: losses on the plane of the first seed, ``[P, P, K]``.
    """

    name: str
    loss: np.ndarray
    sharpness: np.ndarray
    conflict: np.ndarray
    layers: tuple[str, ...]
    alphas: np.ndarray
    lines: np.ndarray
    surface: np.ndarray


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What was measured, and how.

    Attributes:
      experiment: its name, for titles.
      task_names: the K tasks.
      steps: of the models, where a method has no other number of its own.
      rho: the radius of the ball.
      adaptive: whether it is in units of the parameters' sizes.
      samples: for sharpness, lines and planes.
      offsets: along the axes of the plane, ``[P]``.
      methods: one entry a method, in the order of the colours.
    """

    experiment: str
    task_names: tuple[str, ...]
    steps: int
    rho: float
    adaptive: bool
    samples: int
    offsets: np.ndarray
    methods: list[Measured]


def summary(found: Analysis) -> dict[str, Any]:
    """All that was measured but the landscapes, as ``analysis.json`` holds it."""
    return {
        "experiment": found.experiment,
        "tasks": list(found.task_names),
        "steps": found.steps,
        "rho": found.rho,
        "adaptive": found.adaptive,
        "samples": found.samples,
        "methods": {
            method.name: {
                "test_loss": method.loss,
                "sharpness": method.sharpness,
                "conflict_share": method.conflict,
                "layers": list(method.layers),
                "alpha": method.alphas,
            }
            for method in found.methods
        },
    }


def table(found: Analysis) -> str:
    """One row a method, as text without a final newline.

    Example:
      >>> ours = Measured(
      ...     "ours", np.full((1, 2), 0.5), np.full((1, 2), 0.02), np.array([0.25]),
      ...     ("shared/kernel",), np.array([[2.5]]), np.zeros((1, 3, 2)),
      ...     np.zeros((3, 3, 2)))
      >>> found = Analysis("demo", ("l", "r"), 9, 0.05, False, 64, np.ones(3), [ours])
      >>> print(table(found))  # doctest: +ELLIPSIS
      demo: test data, models after their last step, 1 seed
      <BLANKLINE>
            test loss  sharpness  conflicts %  alpha encoder  alpha heads
      -------------------------------------------------------------------
      ours      0.500     0.0200        25.00          2.500            –
      <BLANKLINE>
      Sharpness: ...
    """
    methods = found.methods
    shared = [name.startswith("shared/") for name in methods[0].layers]
    heads = [not own for own in shared]
    columns = {
        "test loss": [method.loss.mean(axis=1) for method in methods],
        "sharpness": [method.sharpness.mean(axis=1) for method in methods],
        "conflicts %": [100 * method.conflict for method in methods],
        "alpha encoder": [_mean_or_nan(method.alphas[:, shared]) for method in methods],
        "alpha heads": [_mean_or_nan(method.alphas[:, heads]) for method in methods],
    }
    filled = [[head, *cells(column)] for head, column in columns.items()]
    names = ["", *(method.name for method in methods)]
    seeds = len(found.methods[0].loss)
    spread = "1 seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    adaptive = " in units of the parameters' sizes" if found.adaptive else ""
    lines = [
        f"{found.experiment}: test data, models after their last step, {spread}",
        "",
    ]
    for page in pages(names, [*([own] for own in filled[:3]), filled[3:]]):
        lines += [*align(page), ""]
    lines += [
        f"Sharpness: rise of the loss at distance {found.rho:g}{adaptive} along the",
        f"     gradient, mean of tasks, on {found.samples:,} samples.",
        "Conflicts: pairs of tasks whose gradients have a negative cosine, in "
        f"{CONFLICT_BATCHES} batches.",
        "Alpha: exponent of the tail of the weights' spectra, mean of layers; "
        "smaller is heavier.",
    ]
    return "\n".join(lines)


def _mean_or_nan(values: np.ndarray) -> np.ndarray:
    """The mean over layers, nan without any."""
    return values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)
