"""A run on a data set: trained where it is not finished, and read."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.training.fit import FitOptions, finished_steps, fit, read_result
from mtopt.training.program import Program

from .progress import ProgressBar


def fitted(
    program: Callable[[], Program],
    dataset: Dataset | JointDataset,
    options: FitOptions,
    place: pathlib.Path,
    *,
    seeds: tuple[int, ...],
    label: str,
    belongs_to: Mapping[str, str],
    diagnose_every: int = 0,
    tensorboard: bool = False,
) -> dict[str, np.ndarray]:
    """What :func:`mtopt.training.fit.read_result` finds, after training if need be.

    Args:
      program: makes what is trained; not called where nothing is.
      dataset: what on.
      options: how long; a run that has ended sooner goes on from there.
      place: the folder of the run.
      seeds: one a model.
      label: beside the progress bar.
      belongs_to: what the run is of, as of :func:`mtopt.training.fit.fit`.
      diagnose_every: likewise.
      tensorboard: likewise.
    """
    if finished_steps(place) < options.steps:
        made = program()
        with ProgressBar(label, options.steps, dataset.tasks) as bar:
            fit(
                made,
                dataset,
                options,
                place,
                seeds=seeds,
                diagnose_every=diagnose_every,
                tensorboard=tensorboard,
                belongs_to=belongs_to,
                progress=bar.update,
            )
    found: Any = read_result(place)
    return found
