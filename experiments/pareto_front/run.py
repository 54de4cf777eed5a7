"""Trains a model for many preferences beside models of single points."""

import functools
import pathlib
import time
from collections.abc import Mapping

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.errors import UserError
from mtopt.grammar import CallText, MethodText
from mtopt.metrics import metrics_of

from ..common.building import (
    load_dataset,
    make_model,
    of_one_kind,
    parse_methods,
)
from ..common.data_record import record_dataset
from ..common.experiment import Job
from ..common.report import write_report
from ..common.run_folder import read_arrays, write_arrays
from . import report
from .config import Config
from .models import (
    by_preference,
    conditioned,
    preferences_inside,
    unconditioned,
)
from .report import Family, Fronts
from .scalarizations import SCALARIZATIONS, Scalarization, linear
from .training import ModelGroup, train_and_test

FIXED = "fixed weightings"


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains the models that are not finished there
      yet, and leaves fronts, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    config.check()
    optimizer = config.optimizer.build(config.steps)
    scalarizations: dict[str, Scalarization] = {
        text: CallText.parse("scalarization", text, SCALARIZATIONS).build()
        for text in config.scalarizations
    }
    methods = parse_methods(config.methods)
    dataset = of_one_kind(load_dataset(config.data, data_dir), "a front")
    if dataset.x_axis is not None or len(dataset.tasks) != 2:
        inputs = "shared inputs" if dataset.x_axis is None else "inputs of their own"
        raise UserError(
            f"{dataset.name} has {len(dataset.tasks)} tasks on {inputs}: expected two "
            "on shared inputs, for a front that is a curve"
        )
    groups = _groups(config, dataset, scalarizations, methods)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        record_dataset(folder, dataset)
        path = folder / "fronts.npz"
        measured = read_arrays(path)
        for text, group in groups.items():
            if text not in measured:
                measured[text] = train_and_test(
                    text, group, optimizer, config, dataset, folder
                )
                write_arrays(path, measured)
            print(f"{text}: {_lowest_losses(measured[text], dataset)}", flush=True)
        families = {
            text: Family(
                group.preferences.reshape(-1, 2),
                measured[text],
                len(group.preferences),
                group.num_parameters,
                text in scalarizations,
                scalarizations[text].ray if text in scalarizations else None,
            )
            for text, group in groups.items()
        }
        fronts = Fronts(
            experiment,
            dataset.tasks,
            metrics_of(dataset.kind)[0].name,
            config.reference,
            config.steps,
            config.fixed_every,
            families,
        )
        write_report(
            folder,
            report.table(fronts),
            report.summary(fronts),
            {"front.png": functools.partial(report.picture, fronts)},
            started,
        )

    return job


def _groups(
    config: Config,
    dataset: Dataset,
    scalarizations: Mapping[str, Scalarization],
    methods: Mapping[str, MethodText],
) -> dict[str, ModelGroup]:
    """What is trained, in the order of the table."""
    model = make_model(config.model, dataset)
    plain, mixed = unconditioned(model), conditioned(model)
    front = preferences_inside(config.preferences)
    chosen = front[:: config.fixed_every, None]
    anywhere = np.full((1, 1, 2), 0.5, np.float32)
    groups = {
        text: ModelGroup(mixed, by_preference(2, scalarization.loss), front[None])
        for text, scalarization in scalarizations.items()
    }
    groups[FIXED] = ModelGroup(plain, by_preference(2, linear().loss), chosen)
    for text, method in methods.items():
        groups[text] = ModelGroup(plain, method.build(2), anywhere)
    return groups


def _lowest_losses(measured: np.ndarray, dataset: Dataset) -> str:
    """The lowest test loss of every task, over preferences, mean over seeds."""
    lowest = measured[..., 0].min(axis=1).mean(axis=0)
    numbers = zip(dataset.tasks, lowest, strict=True)
    return "test loss " + ", ".join(f"{task} {loss:.3f}" for task, loss in numbers)
