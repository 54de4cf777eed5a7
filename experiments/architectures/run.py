"""Trains every architecture by every method, seed by seed."""

import dataclasses
import functools
import itertools
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from mtopt.batch import Batch
from mtopt.data.batches import Batches
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.errors import UserError
from mtopt.metrics import metrics_of
from mtopt.models import Model
from mtopt.training.evaluate import evaluate
from mtopt.training.loop import Measurement, train
from mtopt.training.program import Program, shared_program

from ..common.building import load_dataset, make_aggregator, make_model, parse_methods
from ..common.data_record import record_datasets
from ..common.experiment import Job
from ..common.gate_pictures import gate_masses, masses
from ..common.in_memory import in_memory, of_rows
from ..common.progress import ProgressBar, seeds_label
from ..common.report import write_report
from ..common.run_folder import folder_name, read_arrays, run_folder, write_arrays
from . import report
from .config import Config
from .report import Scores

APART = 0.02
"""How far the numbers of parameters may be apart, as a share of the first model's."""


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for titles.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains what is not finished there yet, and
      leaves metrics, checkpoints, results, the table and the pictures in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run, models
        of unequal numbers of parameters among it.
    """
    config.check()
    if config.controls >= len(config.models):
        raise UserError(
            f"controls is {config.controls} of {len(config.models)} models: expected "
            "fewer, so that there is something to compare with them"
        )
    methods = parse_methods(config.methods)
    optimizer = config.optimizer.build(config.steps)
    sets = {text: _load(text, config, data_dir) for text in config.data}
    models = {
        (text, name): make_model(name, own[0])
        for text, own in sets.items()
        for name in config.models
    }
    sizes = {cell: _parameters(model) for cell, model in models.items()}
    for text in config.data:
        _check_sizes({name: sizes[text, name] for name in config.models})

    def program(text: str, method: str, name: str) -> Program:
        own = sets[text]
        aggregator = make_aggregator(methods[method], own[0], config.batch_size)
        tx = mtopt.chain(aggregator, optimizer)
        return shared_program(models[text, name], tx, len(config.seeds))

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        record_datasets(folder, [data for own in sets.values() for data in own])
        found: dict[tuple[str, str, str], Scores] = {}
        cells = itertools.product(config.methods, config.data, config.models)
        for method, text, name in cells:
            place = folder / folder_name(text) / folder_name(method)
            make = functools.partial(program, text, method, name)
            values = _trained(make, name, sets[text], place, config)
            scores = Scores(sizes[text, name], values)
            found[text, method, name] = scores
            print(f"{text}, {method}, {name}: {scores}", flush=True)
        kinds = {text: metrics_of(own[0].kind)[0] for text, own in sets.items()}
        result = report.Result(experiment, kinds, config.controls, found)
        pictures = {
            "architectures.png": functools.partial(report.picture, result),
        }
        first = config.methods[0]
        for i, text in enumerate(config.data):
            place = folder / folder_name(text) / folder_name(first)
            if of_gates := masses(place, config.models):
                title = f"{text}, {first}"
                draw = functools.partial(gate_masses, title, of_gates)
                pictures[f"gates-{i + 1}.png"] = draw
        write_report(
            folder, report.table(result), report.summary(result), pictures, started
        )

    return job


def _load(text: str, config: Config, data_dir: pathlib.Path | None) -> list[Dataset]:
    """The data of every seed, or one for all."""
    if config.redrawn:
        own = [load_dataset(text, data_dir, seed=seed) for seed in config.seeds]
    else:
        own = [load_dataset(text, data_dir)]
    return [_first_rows(data, config.rows) for data in own]


def _first_rows(dataset: Any, rows: int) -> Dataset:
    """The data set with its first training samples alone; 0: with all of them.

    Raises:
      UserError: for a data set of several groups, or whose training samples are not
        arrays in memory that all tasks share, and where there are fewer.
    """
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"{dataset.name} has {len(dataset.groups)} groups of tasks: expected one"
        )
    train = in_memory(dataset, "train")
    if rows > train.size:
        raise UserError(
            f"rows is {rows}: expected {train.size}, all of {dataset.name}, or fewer"
        )
    if not rows:
        return dataset
    return dataclasses.replace(dataset, train=of_rows(train, np.arange(rows)))


def _parameters(model: Model) -> int:
    """How many numbers are trained, of the encoder and all heads."""
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _check_sizes(sizes: dict[str, int]) -> None:
    """Raises where a model has more or fewer parameters than the first one."""
    (first, wanted), *others = sizes.items()
    for name, size in others:
        if abs(size - wanted) > APART * wanted:
            raise UserError(
                f"{name} has {size} parameters and {first} has {wanted}: expected as "
                f"many within {APART:.0%}; change a width"
            )


def _trained(
    program: Callable[[], Program],
    name: str,
    sets: list[Dataset],
    place: pathlib.Path,
    config: Config,
) -> np.ndarray:
    """The score of every seed, the mean of tasks: what is finished is read."""
    seeds, first = config.seeds, sets[0]
    folder = run_folder(place, name, seeds)
    path = folder / "scores.npz"
    stored = read_arrays(path)
    if stored and int(stored["steps"]) == config.steps:
        return stored["values"]
    made = program()
    with ProgressBar(seeds_label(name, seeds), config.steps, first.tasks) as bar:
        state, _ = train(
            made,
            lambda start: _batches(sets, config, start),
            config.loop_options,
            folder,
            tasks=first.tasks,
            seeds=seeds,
            measure=Measurement(config.diagnose_every, made.measure)
            if config.diagnose_every and made.measure is not None
            else None,
            belongs_to={"the model": name, "the data": first.name},
            progress=bar.update,
        )
    metric = metrics_of(first.kind)[0]
    values = []
    for s, data in enumerate(sets if config.redrawn else sets * len(seeds)):
        of_seed = functools.partial(_one, s)
        models = jax.tree.map(of_seed, (state.evaluated_params, state.model_state))
        found = evaluate(functools.partial(made.predict, *models), data, data.test)
        values.append(report.score(found.metrics[..., 0], metric)[0])
    write_arrays(path, {"values": np.array(values), "steps": config.steps})
    return np.array(values)


def _one(s: int, leaf: jax.Array) -> jax.Array:
    """One model of several, as a stack of it alone."""
    return leaf[s : s + 1]


def _batches(sets: list[Dataset], config: Config, start: int) -> Batches:
    """Those of all seeds from one step on, ``[S, ...]``, a data set each or one."""

    def of(data: Dataset, seeds: tuple[int, ...]) -> Batches:
        assert isinstance(data.train, ArraySplit)  # as _first_rows has checked
        return data.train.batches(config.batch_size, seeds=seeds, start=start)

    if not config.redrawn:
        return of(sets[0], config.seeds)
    own = zip(sets, config.seeds, strict=True)
    streams = [of(data, (seed,)) for data, seed in own]
    common = jax.tree.map(lambda *own: jnp.stack(own), *(s.common for s in streams))
    parts = map(np.concatenate, zip(*(s.parts for s in streams), strict=True))
    return Batches(_taking(streams[0].make), common, parts)


@functools.cache
def _taking(make: Callable[[Any, Any], Batch]) -> Callable[[Any, Any], Batch]:
    """Batches of several seeds, each from samples of its own; one for all data sets."""

    def one(samples: Any, numbers: Any) -> Batch:
        return jax.tree.map(lambda leaf: leaf[0], make(samples, numbers[None]))

    return jax.jit(jax.vmap(one))
