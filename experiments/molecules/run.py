"""Trains the target alone and beside each source, seed after seed."""

import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import mtopt
from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.grammar import MethodText
from mtopt.metrics import metrics_of
from mtopt.training.evaluate import metric_tasks
from mtopt.training.program import Program, shared_program

from ..common.building import load_dataset, make_model, of_one_kind
from ..common.data_record import record_datasets
from ..common.experiment import Job
from ..common.fitted import fitted
from ..common.report import write_report
from ..common.run_folder import run_folder
from . import report
from .config import Config
from .data import beside, first_labelled, permuted
from .report import ALONE, PERMUTED

WEIGHTED = ("weights",)


class Arm(NamedTuple):
    """One way to train the target.

    Attributes:
      name: in the table.
      dataset: of some labelled molecules and a seed.
      program: of a data set; all of an arm are of one structure.
    """

    name: str
    dataset: Callable[[int, int], Dataset | JointDataset]
    program: Callable[[Dataset | JointDataset], Program]


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and reads all that the training needs, without writing a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the folder of the data sets.

    Returns:
      The job: called with a folder, it trains what is not finished there yet, and
      leaves every run, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration that can't be run, or data that is
        missing or can't be joined.
    """
    config.check()
    methods = {t: MethodText.parse(t, WEIGHTED) for t in config.methods}
    target, *sources = (
        of_one_kind(load_dataset(text, data_dir), "the experiment")
        for text in (config.target, *config.sources)
    )
    arms = list(_arms(config, methods, target, sources))
    for arm in arms:  # what does not fit is found before anything is trained
        for count in config.labelled:
            arm.program(arm.dataset(count, 0))
    _check(target, sources)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        record_datasets(folder, [target, *sources])
        scores = {}
        for count in config.labelled:
            for arm in arms:
                place = folder / f"{count or 'all'}-labelled"
                found = [
                    _score(arm, config, target, count, seed, place)
                    for seed in config.seeds
                ]
                scores[count, arm.name] = np.array(found)
                mean = scores[count, arm.name].mean()
                print(f"{report.molecules(count)}, {arm.name}: {mean:.4f}", flush=True)
        (metric, *_) = metrics_of(target.kind)
        result = report.Result(
            experiment, target.name, metric.name, config.labelled, scores
        )
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            {"molecules.png": functools.partial(report.picture, result)},
            started,
        )

    return job


def _check(target: Dataset, sources: list[Dataset]) -> None:
    """Raises where the report could not tell sources apart, or has no score to show."""
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise UserError(
            f"the sources are called {', '.join(map(repr, names))}: expected another "
            "name each, such as npz(path=..., name='mine')"
        )
    (metric, *_) = metrics_of(target.kind)
    if not metric.higher_is_better:
        raise UserError(
            f"the target {target.name!r} is of kind {target.kind}, whose {metric.name} "
            "is in units: expected one of classes, or of yes and no"
        )


def _arms(
    config: Config,
    methods: dict[str, MethodText],
    target: Dataset,
    sources: list[Dataset],
) -> Iterator[Arm]:
    """Alone, then each source with each method, and with its labels permuted."""

    def few(count: int, seed: int) -> Dataset:
        return first_labelled(target, count, seed)

    plain = mtopt.fixed_weighting(len(target.tasks), weights=_weights(target))
    yield Arm(ALONE, few, functools.partial(_program, config, plain))
    for source in sources:
        together = beside(target, source)
        for text, method in methods.items():
            given = {"weights": _weights(together)}
            made = method.build(len(together.tasks), **given)
            name = source.name if len(methods) == 1 else f"{source.name}, {text}"
            program = functools.partial(_program, config, made)

            def real(count: int, seed: int, own: Dataset = source) -> JointDataset:
                return beside(few(count, seed), own)

            def mixed(count: int, seed: int, own: Dataset = source) -> JointDataset:
                return beside(few(count, seed), permuted(own, seed))

            yield Arm(name, real, program)
            if config.permute:
                yield Arm(f"{name}{PERMUTED}", mixed, program)


def _weights(dataset: Dataset | JointDataset) -> dict[str, float]:
    """Those of the tasks of each source add up to 1."""
    return {
        task: 1 / len(group.tasks) for group in dataset.groups for task in group.tasks
    }


def _program(config: Config, method: Any, dataset: Dataset | JointDataset) -> Program:
    model = make_model(config.model, dataset)
    tx = mtopt.chain(method, config.optimizer.build(config.steps))
    return shared_program(model, tx, 1)


def _score(
    arm: Arm,
    config: Config,
    target: Dataset,
    count: int,
    seed: int,
    folder: pathlib.Path,
) -> float:
    """The mean of the target's tasks on its test data, of one seed."""
    place = run_folder(folder, arm.name, (seed,))
    dataset = arm.dataset(count, seed)
    result = fitted(
        functools.partial(arm.program, dataset),
        dataset,
        config.fit_options,
        place,
        seeds=(seed,),
        label=f"{report.molecules(count)}, {arm.name}, seed {seed}",
        belongs_to={"the arm": arm.name, "the model": config.model},
    )
    # The tasks of a source have no labels there, and no score.
    own = [dataset.tasks.index(task) for task in target.tasks]
    column = list(metric_tasks(dataset)).index(metrics_of(target.kind)[0].name)
    return float(result["test"][0, own, column].mean())
