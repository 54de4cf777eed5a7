"""Runs a comparison: every method and seed trained, tested, tabled and drawn."""

import functools
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np

import mtopt
from experiments import calls, pictures
from experiments.bar import Bar
from experiments.built import (
    DTYPES,
    load,
    make_aggregators,
    make_model,
    place_of,
    slug,
    stacks,
)
from experiments.comparison import Comparison, MethodResult
from experiments.config import Config, make_optimizer
from experiments.ending import conclude
from experiments.table import table
from mtopt.data.dataset import Dataset
from mtopt.errors import UserError
from mtopt.metrics import METRICS
from mtopt.training import tensorboard
from mtopt.training.fit import FitSchedule, fit, read_result
from mtopt.training.program import Program, separate_program, shared_program

SINGLE_TASK = "single-task models"

Job = Callable[[pathlib.Path], None]


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that a comparison needs, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for titles.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains what is not finished there yet and
      leaves metrics, checkpoints, the table and the pictures in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    train = prepare_training(config, experiment, data_dir)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        comparison = train(folder)
        conclude(
            folder,
            table(comparison),
            {
                "tasks": list(comparison.task_names),
                "metrics": list(comparison.metric_names),
                "test": {result.name: result.metrics for result in comparison.results},
            },
            {
                "test.png": functools.partial(pictures.scatter, comparison),
                "curves.png": functools.partial(pictures.curves, comparison),
            },
            started,
        )

    return job


def prepare_training(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], Comparison]:
    """As :func:`prepare`; what it returns trains and gives back the comparison."""
    if not config.methods or not config.seeds:
        raise UserError(
            "the comparison is empty: expected a method and a seed at least"
        )
    for field, values in (
        ("methods", [slug(text) for text in config.methods]),
        ("seeds", config.seeds),
    ):
        if len(set(values)) < len(values):
            raise UserError(f"{field} has an entry twice: {getattr(config, field)}")
    if min(config.seeds) < 0:
        raise UserError(f"seeds are {config.seeds}: expected none below 0")
    if config.dtype not in DTYPES:
        raise UserError(f"dtype is {config.dtype!r}: expected one of {tuple(DTYPES)}")
    schedule = FitSchedule(
        steps=config.steps,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        batch_size=config.batch_size,
        eval_every=config.eval_every,
    )
    if config.tensorboard:
        tensorboard.require()
    optimizer = make_optimizer(config.optimizer, config.steps)
    for text in config.methods:
        calls.check_method(text, "steps_per_epoch")
    dataset = load(config.data, data_dir)
    aggregators = make_aggregators(config, dataset)
    shared = make_model(config, dataset, dataset.tasks)
    separate = make_model(config, dataset, ("task",))

    def program(text, num_seeds) -> Program:
        if text == SINGLE_TASK:
            tx = mtopt.chain(mtopt.equal_weighting(1), optimizer)
            return separate_program(separate, tx, dataset.tasks, num_seeds)
        tx = mtopt.chain(aggregators[text], optimizer)
        return shared_program(shared, tx, num_seeds)

    runs = [SINGLE_TASK] if config.single_task else []
    runs += list(config.methods)

    def train(folder: pathlib.Path) -> Comparison:
        results = {
            text: _train(
                text,
                program,
                dataset,
                schedule,
                stacks(config),
                folder,
                config.tensorboard,
            )
            for text in runs
        }
        return Comparison(
            experiment=experiment,
            task_names=dataset.tasks,
            metric_names=tuple(metric.name for metric in METRICS[dataset.kind]),
            higher_is_better=tuple(m.higher_is_better for m in METRICS[dataset.kind]),
            baseline=results.get(SINGLE_TASK),
            methods=[results[text] for text in config.methods],
        )

    return train


def _train(
    text: str,
    program: Callable[[str, int], Program],
    dataset: Dataset,
    schedule: FitSchedule,
    stacks: Sequence[tuple[int, ...]],
    folder: pathlib.Path,
    events: bool,
) -> MethodResult:
    """One method, all seeds: what is finished is read, what is not is trained."""
    built = None
    parts = []
    for seeds in stacks:
        place = place_of(folder, text, seeds)
        if read_result(place) is None:
            built = built or program(text, len(seeds))
            with Bar(text, seeds, schedule.steps, dataset.tasks) as bar:
                fit(
                    built,
                    dataset,
                    schedule,
                    place,
                    seeds=seeds,
                    tensorboard=events,
                    progress=bar.update,
                )
        parts.append(read_result(place))
    result = {
        key: np.concatenate([part[key] for part in parts])
        for key in ("test", "pooled", "validation")
    }
    _say(text, result, dataset)
    curves = {"step": parts[0]["step"], "validation": result["validation"]}
    return MethodResult(text, result["test"], curves)


def _say(text: str, result: dict[str, np.ndarray], dataset: Dataset) -> None:
    metrics = METRICS[dataset.kind]
    pooled = result["pooled"].mean(axis=0)
    numbers = ", ".join(
        f"{metric.name} {value:.4g}"
        for metric, value in zip(metrics, pooled, strict=True)
    )
    print(f"{text}: test over all samples of all tasks: {numbers}", flush=True)
