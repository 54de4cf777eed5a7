"""Test scores as means over the last looks, where no model is chosen."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.training.evaluate import Scores, metric_tasks
from mtopt.training.writer import read_records

SPLIT = "test_look"
"""What records of such a look are called, beside ``valid`` and ``test``."""


def last_looks(steps: int, every: int, count: int) -> tuple[int, ...]:
    """The steps of the last looks.

    Args:
      steps: of the run; the last one always has a look.
      every: steps from one look to the next.
      count: so many.

    Raises:
      UserError: where a run has fewer.

    Example:
      >>> last_looks(50, every=20, count=2)
      (40, 50)
    """
    looks = sorted({*range(every, steps + 1, every), steps})
    if count > len(looks):
        raise UserError(
            f"test_looks is {count}, and {steps} steps have {len(looks)} looks, one "
            f"every {every}: expected at most {len(looks)}"
        )
    return tuple(looks[len(looks) - count :])


def mean_of_looks(
    folder: pathlib.Path,
    dataset: Dataset | JointDataset,
    seeds: Sequence[int],
    looks: Sequence[int],
) -> Scores:
    """The means of the test scores that a run's records have.

    Args:
      folder: of the run.
      dataset: that it was trained on.
      seeds: of its models.
      looks: the steps, as of :func:`last_looks`.

    Returns:
      The scores, ``selection`` all NaN, as they choose nothing. NaN where one is that
      it is the mean of, or was never taken, as of models that had all diverged.
    """
    metrics = metric_tasks(dataset)
    records = {
        (record["seed"], record["step"]): record
        for record in read_records(folder / "metrics.jsonl")
        if record["split"] == SPLIT
    }
    nothing = {name: {} for name in metrics}

    def of_look(record: dict[str, Any]) -> tuple[Any, Any]:
        own = [[record[name].get(task) for name in metrics] for task in dataset.tasks]
        return own, [record.get(f"pooled_{name}") for name in metrics]

    found = [
        [of_look(records.get((seed, step), nothing)) for step in looks]
        for seed in seeds
    ]

    def mean_of(part: int) -> np.ndarray:
        return np.array([[look[part] for look in own] for own in found], float).mean(1)

    nothing_chosen = np.full((len(seeds), len(dataset.tasks)), np.nan)
    return Scores(mean_of(0), mean_of(1), nothing_chosen)
