"""Runs a comparison: every method and seed trained, tested, tabled and drawn."""

import functools
import pathlib
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import mtopt
from mtopt.data.dataset import Dataset
from mtopt.metrics import METRICS
from mtopt.training import tensorboard
from mtopt.training.fit import FitOptions, fit, read_result
from mtopt.training.loop import read_per_task
from mtopt.training.program import Program, separate_program, shared_program

from . import pictures
from .building import (
    load_dataset,
    make_aggregators,
    make_model,
    parse_compared_methods,
    seed_stacks,
    with_steps,
)
from .config import Config
from .data_record import record_dataset
from .devices import check_devices
from .estimate import step_cost, text_of
from .experiment import Job
from .looks import late_falls
from .paired import paired_table
from .progress import ProgressBar, seeds_label
from .report import write_report
from .results import Comparison, MethodResult
from .run_folder import run_folder
from .table import WIDTH, table

SINGLE_TASK = "single-task models"


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that a comparison needs, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for titles.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains what is not finished there yet and
      leaves what the data is, metrics, checkpoints, the table and the pictures in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    train = prepare_training(config, experiment, data_dir)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        comparison = train(folder)
        write_report(
            folder,
            _text(comparison, config),
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


def _text(comparison: Comparison, config: Config) -> str:
    """The table, then what it does not show."""
    falls = [textwrap.fill(line, WIDTH) for line in late_falls(comparison)]
    parts = [table(comparison), "\n".join(falls)]
    first = range(min(config.paired, len(comparison.methods) - 1))
    parts += [paired_table(comparison, index) for index in first]
    return "\n\n".join(filter(None, parts))


class Training(NamedTuple):
    """What a comparison trains, built and checked.

    Attributes:
      dataset: on this.
      steps: of every run, by its text: the single-task models, where they are asked
        for, then the methods.
      program: ``(text, number of seeds) -> program``.
      stacks: the seeds that run as one program, stack by stack.
    """

    dataset: Dataset
    steps: dict[str, int]
    program: Callable[[str, int], Program]
    stacks: list[tuple[int, ...]]

    @classmethod
    def of(cls, config: Config, data_dir: pathlib.Path | None) -> "Training":
        """That of a configuration; arguments and errors as for :func:`prepare`."""
        config.check()
        if config.tensorboard:
            tensorboard.require()
        runs = [SINGLE_TASK] if config.single_task else []
        runs += list(config.methods)
        steps = {text: with_steps(text, config.steps)[1] for text in runs}
        optimizers = {own: config.optimizer.build(own) for own in {*steps.values()}}
        methods = parse_compared_methods(config)
        dataset = load_dataset(config.data, data_dir)
        aggregators = make_aggregators(methods, dataset, config.batch_size)
        of_model: Any = {"dtype": config.dtype, "remat": config.remat}
        shared = make_model(config.model, dataset, dataset.tasks, **of_model)
        separate = make_model(config.model, dataset, ("task",), **of_model)
        together = config.devices.of(shared.tasks)
        alone = config.devices.of_one(separate.tasks)
        for devices in (together, alone) if config.single_task else (together,):
            check_devices(devices, config.batch_size)

        def program(text: str, num_seeds: int) -> Program:
            options_of_step: Any = {
                "on_nonfinite": config.on_nonfinite,
                "micro_batches": config.micro_batches,
            }
            optimizer = optimizers[steps[text]]
            if text == SINGLE_TASK:
                tx = mtopt.chain(mtopt.equal_weighting(1), optimizer)
                one_by_one = separate, tx, dataset.tasks, num_seeds
                return separate_program(*one_by_one, devices=alone, **options_of_step)
            tx = mtopt.chain(aggregators[text], optimizer)
            return shared_program(
                shared, tx, num_seeds, devices=together, **options_of_step
            )

        stacks = seed_stacks(config.seeds, config.stack_seeds)
        return cls(dataset, steps, program, stacks)


def prepare_training(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], Comparison]:
    """As :func:`prepare`; what it returns trains and gives back the comparison."""
    dataset, steps, program, stacks = Training.of(config, data_dir)

    def train(folder: pathlib.Path) -> Comparison:
        record_dataset(folder, dataset)
        results = {
            text: _train(text, program, dataset, own, stacks, folder, config)
            for text, own in steps.items()
        }
        return Comparison(
            experiment=experiment,
            task_names=dataset.tasks,
            metric_names=tuple(metric.name for metric in METRICS[dataset.kind]),
            higher_is_better=tuple(m.higher_is_better for m in METRICS[dataset.kind]),
            baseline=results.get(SINGLE_TASK),
            methods=[results[text] for text in config.methods],
            units=None if dataset.in_one_unit else dataset.units,
        )

    return train


def estimate(config: Config, experiment: str, data_dir: pathlib.Path | None) -> str:
    """What a step of every run takes; arguments and errors as for :func:`prepare`."""
    dataset, steps, program, stacks = Training.of(config, data_dir)
    seeds = stacks[0]
    batch = jax.eval_shape(
        lambda: next(dataset.train.batches(config.batch_size, seeds=seeds))
    )
    costs = {text: step_cost(program(text, len(seeds)), batch) for text in steps}
    title = (
        f"{experiment}: one step of {config.model} on {config.data}, "
        f"{len(dataset.tasks)} tasks, batches of {config.batch_size}, {len(seeds)} "
        f"seed{'s' * (len(seeds) > 1)} at once"
    )
    return text_of(title, costs)


def _train(
    text: str,
    make_program: Callable[[str, int], Program],
    dataset: Dataset,
    steps: int,
    stacks: Sequence[tuple[int, ...]],
    folder: pathlib.Path,
    config: Config,
) -> MethodResult:
    """One method, all seeds: what is finished is read, what is not is trained."""
    options = FitOptions(
        steps=steps,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        steps_per_call=config.steps_per_call or None,
        batch_size=config.batch_size,
        eval_every=config.eval_every,
    )
    program = None
    parts = []
    for seeds in stacks:
        place = run_folder(folder, text, seeds)
        if read_result(place) is None:
            program = program or make_program(text, len(seeds))
            label = seeds_label(text, seeds)
            with ProgressBar(label, steps, dataset.tasks) as bar:
                fit(
                    program,
                    dataset,
                    options,
                    place,
                    seeds=seeds,
                    tensorboard=config.tensorboard,
                    belongs_to={"the method": text, "the model": config.model},
                    progress=bar.update,
                )
        parts.append(read_result(place))
    result = {
        key: np.concatenate([part[key] for part in parts])
        for key in ("test", "pooled", "validation")
    }
    _print_pooled(text, result, dataset)
    places = [run_folder(folder, text, seeds) for seeds in stacks]
    _print_stationary(text, places, dataset.tasks)
    curves = {"step": parts[0]["step"], "validation": result["validation"]}
    return MethodResult(text, result["test"], curves)


def _print_pooled(text: str, result: dict[str, np.ndarray], dataset: Dataset) -> None:
    metrics = METRICS[dataset.kind]
    pooled = result["pooled"].mean(axis=0)
    units = "" if dataset.in_one_unit else ", in units of each task's deviation"
    numbers = ", ".join(
        f"{metric.name} {value:.4g}"
        for metric, value in zip(metrics, pooled, strict=True)
    )
    print(f"{text}: test over all samples of all tasks{units}: {numbers}", flush=True)


def _print_stationary(
    text: str, places: Sequence[pathlib.Path], tasks: Sequence[str]
) -> None:
    """A line on tasks that had all the weight, and no gradient, in some steps."""
    found = [read_per_task(place, "stationary_steps")["values"] for place in places]
    last = [values[:, -1].max(axis=0) for values in found if values.size]
    if not last:
        return
    steps = dict(zip(tasks, np.max(last, axis=0).astype(int).tolist(), strict=True))
    named = ", ".join(f"{task} in {count}" for task, count in steps.items() if count)
    print(
        f"{text}: tasks without a gradient had nearly all the weight, and held the "
        f"others up (steps of one seed at most: {named}); without_stationary(...) "
        "around the method leaves them out",
        flush=True,
    )
