"""Trains every task alone, with the others, and beside permuted labels of theirs."""

import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import mtopt
from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.training.evaluate import evaluate, metric_tasks, primary_metrics
from mtopt.training.loop import train
from mtopt.training.program import Program, shared_program

from ..common.building import make_aggregator, make_model, parse_methods
from ..common.data_record import record_datasets
from ..common.experiment import Job
from ..common.progress import ProgressBar, seeds_label
from ..common.report import write_report
from ..common.run_folder import read_arrays, run_folder, write_arrays
from . import report
from .config import Config
from .data import Draw, draw
from .report import ALONE, PERMUTED


class Arm(NamedTuple):
    """One way to train, and the tasks that it is tested on.

    Attributes:
      name: in the table.
      tasks: whose scores are kept.
      dataset: of a seed's data, what it trains on.
      program: what runs, for every seed.
    """

    name: str
    tasks: tuple[str, ...]
    dataset: Callable[[Draw], Dataset | JointDataset]
    program: Program


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains what is not finished there yet, and
      leaves metrics, checkpoints, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    config.check()
    parse_methods(config.methods)  # what can't be read, before scenes are drawn
    draws = [draw(config.data, data_dir, seed) for seed in config.seeds]
    first = draws[0].joint
    arms = list(_arms(config, draws[0]))

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        every = [data for own in draws for data in (own.joint, *own.beside.values())]
        record_datasets(folder, every)
        scores = {}
        for arm in arms:
            values = _trained(arm, draws, folder, config)
            for task, own in zip(arm.tasks, values.T, strict=True):
                scores[task, arm.name] = own
                print(f"{task}, {arm.name}: {own.mean():.4g}", flush=True)
        images = {task: own.train.size for task, own in draws[0].alone.items()}
        result = report.Result(experiment, images, primary_metrics(first), scores)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            {"sharing.png": functools.partial(report.picture, result)},
            started,
        )

    return job


def _arms(config: Config, first: Draw) -> Iterator[Arm]:
    """Each task alone; by each method all of them, and each beside permuted ones.

    Args:
      config: with the methods.
      first: the data of a seed; those of others have the same form.
    """
    optimizer = config.optimizer.build(config.steps)

    def program(aggregator: Any, data: Dataset | JointDataset) -> Program:
        model = make_model(config.model, data)
        return shared_program(model, mtopt.chain(aggregator, optimizer), 1)

    for task, data in first.alone.items():
        own = program(mtopt.equal_weighting(1), data)
        yield Arm(ALONE, (task,), lambda d, task=task: d.alone[task], own)
    for text, method in parse_methods(config.methods).items():
        aggregator = make_aggregator(method, first.joint, config.batch_size)
        together = program(aggregator, first.joint)
        yield Arm(text, first.joint.tasks, lambda d: d.joint, together)
        for task in first.beside:
            name = f"{text}{PERMUTED}"
            yield Arm(name, (task,), lambda d, task=task: d.beside[task], together)


def _trained(
    arm: Arm, draws: list[Draw], folder: pathlib.Path, config: Config
) -> np.ndarray:
    """The first metric of the arm's tasks, ``[S, tasks]``: what is finished is read."""
    name = f"{arm.name}, {arm.tasks[0]}" if len(arm.tasks) == 1 else arm.name
    found = []
    for seed, own in zip(config.seeds, draws, strict=True):
        place = run_folder(folder, name, (seed,))
        path = place / "scores.npz"
        stored = read_arrays(path)
        if not stored or int(stored["steps"]) != config.steps:
            scores = _scores(arm, name, arm.dataset(own), place, seed, config)
            stored = {"values": scores, "steps": np.array(config.steps)}
            write_arrays(path, stored)
        found.append(stored["values"])
    return np.stack(found)


def _scores(
    arm: Arm,
    name: str,
    data: Dataset | JointDataset,
    place: pathlib.Path,
    seed: int,
    config: Config,
) -> np.ndarray:
    """Trains one model, and tests that of the last step."""
    made = arm.program
    label = seeds_label(name, (seed,))
    with ProgressBar(label, config.steps, data.tasks) as bar:
        state, _ = train(
            made,
            lambda start: data.train.batches(
                config.batch_size, seeds=(seed,), start=start
            ),
            config.loop_options,
            place,
            tasks=data.tasks,
            seeds=(seed,),
            belongs_to={"the arm": name, "the model": config.model},
            progress=bar.update,
        )
    models = state.evaluated_params, state.model_state
    tested = evaluate(functools.partial(made.predict, *models), data, data.test)
    columns, metrics = list(metric_tasks(data)), primary_metrics(data)
    return np.array(
        [
            tested.metrics[0, data.tasks.index(task), columns.index(metrics[task].name)]
            for task in arm.tasks
        ]
    )
