"""Runs a comparison: every method and seed trained, tested, tabled and drawn."""

import dataclasses
import functools
import pathlib
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import mtopt
from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.metrics import mean_and_spread, metrics_of
from mtopt.trained.description import ModelDescription
from mtopt.trained.stored import StoredModels, write_models
from mtopt.training import tensorboard
from mtopt.training.criterion import criterion
from mtopt.training.evaluate import metric_tasks
from mtopt.training.fit import read_diverged
from mtopt.training.loop import read_per_task, read_seconds_per_step
from mtopt.training.program import Program, separate_program, shared_program
from mtopt.training.program_memory import read_step_bytes

from .building import (
    batch_sizes,
    load_dataset,
    make_aggregator,
    make_model,
    parse_compared_methods,
    seed_stacks,
    with_steps,
)
from .config import Config
from .data_record import record_dataset
from .devices import check_devices
from .estimate import StepCost, step_cost, text_of
from .experiment import Job
from .fitted import fitted
from .gallery import gallery
from .groups import compared_by_group
from .looks import extended, late_falls, undefined
from .paired import paired_sheet
from .pixel_pictures import pixel_pictures
from .progress import seeds_label
from .protocol import protocol
from .report import Diverged, write_report
from .results import Comparison, MethodResult
from .results_file import to_plain
from .run_folder import run_folder
from .table import WIDTH, table, to_text
from .tuned import Make, Numbers, at, tuned

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
    training = Training.of(config, data_dir)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        parts = train_all(training, config, experiment, folder)
        pictures = gallery(folder, parts)
        write_report(
            folder,
            report_text(parts, config.paired),
            to_plain(parts),
            pictures | pixel_pictures(folder, training.dataset, parts),
            started,
        )
        noted = {each.name for part in parts for each in part.results if each.notes}
        gone = [result.name for result in parts[0].results if result.name in noted]
        if gone:
            raise Diverged(
                f"{len(gone)} of {len(parts[0].results)} runs diverged with some or "
                f"all seeds ({', '.join(gone)}): expected finite numbers; the table "
                "says where, and has the others"
            )

    return job


def report_text(parts: Sequence[Comparison], paired: int) -> str:
    """The table, then what it does not show.

    Args:
      parts: one a group of tasks.
      paired: the first so many methods are each what all later ones are compared with.
    """
    first, *_ = parts
    falls = [
        textwrap.fill(f"{part.group}: {line}" if part.group else line, WIDTH)
        for part in parts
        for line in (*undefined(part), *late_falls(part))
    ]
    # Those of a method stand with every group, of single-task models with their own.
    every = [note for part in parts for each in part.results for note in each.notes]
    notes = [textwrap.fill(note, WIDTH) for note in dict.fromkeys(every)]
    texts = [table(*parts), "\n".join(notes), "\n".join(falls)]
    for index in range(min(paired, len(first.methods) - 1)):
        for part in parts:
            later = dataclasses.replace(part, methods=part.methods[index:])
            texts.append(to_text(paired_sheet(later, later.methods[0].name)))
    return "\n\n".join(filter(None, texts))


class Run(NamedTuple):
    """Models that are trained together, over all seeds.

    Attributes:
      name: in the table and in progress.
      text: another for every other run: decides its folder.
      dataset: on this.
      batch_size: samples per step, as :class:`mtopt.training.fit.FitOptions`.
      steps: so many.
      choose_by: what its models are chosen by.
      program: ``number of seeds -> program``.
      make: its chain, of what is tuned in it.
    """

    name: str
    text: str
    dataset: Dataset | JointDataset
    batch_size: int
    steps: int
    choose_by: str
    program: Callable[[int], Program]
    make: Make

    def at(self, numbers: Numbers, text: str) -> "Run":
        """With other numbers, by the program of those that it was made with.

        Args:
          numbers: the learning rate, and options of the method.
          text: of the method with these.
        """
        return self._replace(
            text=text,
            program=lambda num_seeds: at(self.program(num_seeds), self.make, numbers),
        )


class Training(NamedTuple):
    """What a comparison trains, built and checked.

    Attributes:
      dataset: on this.
      baselines: the single-task models, those of each group of tasks a run; empty where
        they are not asked for.
      methods: a run each.
      stacks: the seeds that run as one program, stack by stack.
    """

    dataset: Dataset | JointDataset
    baselines: list[Run]
    methods: list[Run]
    stacks: list[tuple[int, ...]]

    @classmethod
    def of(
        cls,
        config: Config,
        data_dir: pathlib.Path | None,
        numbers: Numbers | None = None,
    ) -> "Training":
        """That of a configuration; arguments and errors as for :func:`prepare`.

        Args:
          config: what to run.
          data_dir: the user's folder of data sets.
          numbers: those of :meth:`Run.at`, which other trials have others of; None
            for programs that are made for the numbers of the configuration.
        """
        config.check()
        if config.tensorboard:
            tensorboard.require()
        steps = {text: with_steps(text, config.steps)[1] for text in config.methods}
        for own in {*steps.values(), config.steps}:
            config.optimizer.build(own)  # what it refuses, before data are read
        methods = parse_compared_methods(config)
        dataset = load_dataset(config.data, data_dir)
        chosen_by = criterion(config.choose_by, dataset)
        of_model: Any = {"dtype": config.dtype, "remat": config.remat}
        of_step: Any = {
            "on_nonfinite": config.on_nonfinite,
            "micro_batches": config.micro_batches,
        }
        rate = config.optimizer.learning_rate

        def chain(make: Make) -> optax.GradientTransformation:
            return make(Numbers(rate, {})) if numbers is None else tuned(make, numbers)

        shared = make_model(config.model, dataset, **of_model)
        together = config.devices.of(shared.tasks)
        check_devices(together, config.batch_size)

        def run(text: str) -> Run:
            method, own = methods[text], steps[text]

            def make(numbers: Numbers) -> optax.GradientTransformation:
                of_method = method, dataset, config.batch_size, numbers.options
                behind = config.optimizer.build(own, numbers.learning_rate)
                return mtopt.chain(make_aggregator(*of_method), behind)

            tx = chain(make)

            @functools.cache
            def program(num_seeds: int) -> Program:
                all_at_once = shared, tx, num_seeds
                return shared_program(*all_at_once, devices=together, **of_step)

            of_run = config.batch_size, own, config.choose_by
            return Run(text, text, dataset, *of_run, program, make)

        def single(group: Dataset, batch_size: int) -> Run:
            separate = make_model(config.model, group, names=("task",), **of_model)
            alone = config.devices.of_one(separate.tasks)
            check_devices(alone, batch_size)

            def make(numbers: Numbers) -> optax.GradientTransformation:
                behind = config.optimizer.build(config.steps, numbers.learning_rate)
                return mtopt.chain(mtopt.equal_weighting(1), behind)

            tx = chain(make)

            @functools.cache
            def program(num_seeds: int) -> Program:
                one_by_one = separate, tx, group.tasks, num_seeds
                return separate_program(*one_by_one, devices=alone, **of_step)

            several = len(dataset.groups) > 1
            text = f"{SINGLE_TASK}, {group.tasks[0]}" if several else SINGLE_TASK
            # A group without a part in the criterion has not heard of it.
            named = any(map(chosen_by.has, group.tasks))
            of_run = batch_size, config.steps, config.choose_by * named
            return Run(SINGLE_TASK, text, group, *of_run, program, make)

        sizes = batch_sizes(dataset, config.batch_size)
        baselines = []
        if config.single_task:
            baselines = list(map(single, dataset.groups, sizes))
        stacks = seed_stacks(config.seeds, config.stack_seeds)
        return cls(dataset, baselines, list(map(run, config.methods)), stacks)


def prepare_training(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], list[Comparison]]:
    """As :func:`prepare`; what it returns trains, and gives a comparison a group."""
    training = Training.of(config, data_dir)
    return lambda folder: train_all(training, config, experiment, folder)


def train_all(
    training: Training, config: Config, experiment: str, folder: pathlib.Path
) -> list[Comparison]:
    """Trains what is not finished in a folder yet, and reads what is.

    Args:
      training: what there is to train.
      config: what it was made of.
      experiment: its name, for titles.
      folder: where it goes.

    Returns:
      A comparison a group of tasks.
    """
    dataset, baselines, methods, stacks = training
    record_dataset(folder, dataset)
    described = ModelDescription.of(config.model, dataset, config.dtype)
    write_models(folder, described, _stored(baselines, methods, stacks))
    single, several = (
        [_train(run, stacks, folder, config) for run in runs]
        for runs in (baselines, methods)
    )
    lines = (protocol(config, dataset),)
    return compared_by_group(experiment, dataset, single, several, lines)


def _stored(
    baselines: Sequence[Run],
    methods: Sequence[Run],
    stacks: Sequence[tuple[int, ...]],
) -> list[StoredModels]:
    """Where the models of all runs will be."""
    of_groups = [(run, group) for group, run in enumerate(baselines)]
    return [
        StoredModels(
            run.name, str(run_folder(pathlib.Path(), run.text, seeds)), seeds, group
        )
        for run, group in (*of_groups, *((run, None) for run in methods))
        for seeds in stacks
    ]


def estimate(config: Config, experiment: str, data_dir: pathlib.Path | None) -> str:
    """What a step of every run takes; arguments and errors as for :func:`prepare`."""
    training = Training.of(config, data_dir)
    dataset, seeds = training.dataset, training.stacks[0]
    sizes = dict.fromkeys(batch_sizes(dataset, config.batch_size))
    title = (
        f"{experiment}: one step of {config.model} on {config.data}, "
        f"{len(dataset.tasks)} tasks, batches of {' and '.join(map(str, sizes))}, "
        f"{len(seeds)} "
        f"seed{'s' * (len(seeds) > 1)} at once"
    )
    return text_of(title, step_costs(training))


def step_costs(training: Training) -> dict[str, StepCost]:
    """What a step of every run takes, compiled and not run, by the text of the run.

    Args:
      training: what would be trained.
    """
    seeds = training.stacks[0]
    costs = {}
    for run in (*training.baselines, *training.methods):
        batch = jax.eval_shape(
            lambda run=run: next(run.dataset.train.batches(run.batch_size, seeds=seeds))
        )
        costs[run.text] = step_cost(run.program(len(seeds)), batch)
    return costs


def _train(
    run: Run,
    stacks: Sequence[tuple[int, ...]],
    folder: pathlib.Path,
    config: Config,
) -> MethodResult:
    """One run, all seeds: what is finished is read, what is not is trained."""
    options = dataclasses.replace(
        config.fit_options,
        steps=run.steps,
        batch_size=run.batch_size,
        choose_by=run.choose_by,
    )
    # Of stacks of one size, one program.
    program = functools.cache(run.program)
    tasks = run.dataset.tasks
    places = [run_folder(folder, run.text, seeds) for seeds in stacks]
    parts = [
        fitted(
            functools.partial(program, len(seeds)),
            run.dataset,
            options,
            place,
            seeds=seeds,
            label=seeds_label(run.text, seeds),
            belongs_to={"the method": run.text, "the model": config.model},
            diagnose_every=config.diagnose_every,
            tensorboard=config.tensorboard,
        )
        for seeds, place in zip(stacks, places, strict=True)
    ]
    step = max((part["step"] for part in parts), key=len)
    result = {
        "test": np.concatenate([part["test"] for part in parts]),
        "pooled": np.concatenate([part["pooled"] for part in parts]),
        "validation": np.concatenate(
            [
                extended(
                    part["validation"].reshape(len(seeds), -1, len(tasks)),
                    len(step),
                    np.asarray(np.isnan(part["test"]).all(axis=(1, 2))),
                )
                for part, seeds in zip(parts, stacks, strict=True)
            ]
        ),
    }
    _print_pooled(run, result)
    _print_stationary(run.text, places, tasks)
    looks = {"step": step, "validation": result["validation"]}
    notes = [
        f"{run.name}: seed {one.seed} diverged: {one.what}"
        for place in places
        for one in read_diverged(place)
    ]
    return MethodResult(
        run.name,
        result["test"],
        looks if len(step) else {},  # without a look there is no curve
        tuple(notes),
        tuple(seed for stack in stacks for seed in stack),
        None
        if config.test_looks
        else np.concatenate([part["chosen_step"] for part in parts]),
        float(np.median([read_seconds_per_step(place) for place in places])),
        float(np.fmax.reduce([read_step_bytes(place) for place in places])),
    )


def _print_pooled(run: Run, result: dict[str, np.ndarray]) -> None:
    """The scores over all samples, of metrics that one group has alone."""
    groups = run.dataset.groups
    each = [
        (metric.name, group) for group in groups for metric in metrics_of(group.kind)
    ]
    several = Counter(name for name, _ in each)
    own = {name: group for name, group in each if several[name] == 1}
    if not own:
        return
    in_units = all(group.in_one_unit for group in own.values())
    units = "" if in_units else ", in units of each task's deviation"
    means, _ = mean_and_spread(result["pooled"], axis=0)
    pooled = zip(metric_tasks(run.dataset), means, strict=True)
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in pooled if name in own)
    over = f"test over all samples of all tasks{units}"
    print(f"{run.text}: {over}: {numbers}", flush=True)


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
