"""Trains every aggregator without, with and against planted outliers."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable

import numpy as np

from mtopt.data.images.planted_outliers import PLANTS
from mtopt.training.loop import read_per_task

from ..common import runner
from ..common.building import seed_stacks
from ..common.config import Config as ComparisonConfig
from ..common.experiment import Job
from ..common.report import write_report
from ..common.results import Comparison
from ..common.run_folder import run_folder
from . import report
from .config import Config
from .report import GATE, NONE, PLAIN, WEIGHTED, Arm, Outliers


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds everything; see :func:`experiments.common.runner.prepare`.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    config.check()
    training = {
        arm: (compared, runner.prepare_training(compared, experiment, data_dir))
        for arm, compared in _comparisons(config).items()
    }

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        arms = {}
        for (plant, kind), (compared, train) in training.items():
            place = folder / f"{plant}-{kind}"
            print(f"{plant}, {kind}", flush=True)
            arms[plant, kind] = _measured(place, compared, train, kind)
        found = Outliers(experiment, config.methods, config.plants, config.steps, arms)
        draw = {"scores.png": functools.partial(report.scores, found)}
        draw |= {
            f"{name}.png": functools.partial(report.over_time, found, kind)
            for name, kind in (("task_weights", WEIGHTED), ("gates", GATE))
        }
        write_report(folder, report.table(found), report.summary(found), draw, started)

    return job


def estimate(config: Config, experiment: str, data_dir: pathlib.Path | None) -> str:
    """What a step of every arm takes; see :func:`experiments.common.runner.estimate`.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    config.check()
    parts = [
        runner.estimate(compared, f"{experiment}, {plant}, {kind}", data_dir)
        for (plant, kind), compared in _comparisons(config).items()
    ]
    return "\n\n".join(parts)


def _comparisons(config: Config) -> dict[tuple[str, str], ComparisonConfig]:
    """Every plant and arm as a comparison of all aggregators."""
    wrapped = tuple(f"outlier_weighted({text})" for text in config.methods)

    def compared(
        plant: str, methods: tuple[str, ...], keep: bool = True, gate: bool = False
    ) -> ComparisonConfig:
        options = f"plant={plant!r}, num_tasks={config.num_tasks}, "
        options += f"num_outliers={config.num_outliers}, keep_outliers={keep}"
        return ComparisonConfig(
            data=f"planted_outliers({options})",
            model=f"pooled_mlp(hidden={config.hidden}, outlier_gate={gate})",
            methods=methods,
            single_task=False,
            **{
                field.name: getattr(config, field.name)
                for field in dataclasses.fields(config)
                if field.name in SAME
            },
        )

    found = {
        (NONE, PLAIN): compared(PLANTS[0], config.methods, keep=False),
        (NONE, WEIGHTED): compared(PLANTS[0], wrapped, keep=False),
    }
    for plant in config.plants:
        found[plant, PLAIN] = compared(plant, config.methods)
        found[plant, WEIGHTED] = compared(plant, wrapped)
        found[plant, GATE] = compared(plant, config.methods, gate=True)
    return found


SAME = (
    "optimizer",
    "seeds",
    "steps",
    "batch_size",
    "eval_every",
    "log_every",
    "checkpoint_every",
)


def _measured(
    place: pathlib.Path,
    compared: ComparisonConfig,
    train: Callable[[pathlib.Path], list[Comparison]],
    kind: str,
) -> Arm:
    """Trains one arm; its scores, and what it logged of every task."""
    (comparison,) = train(place)
    regular = np.array(
        [not name.startswith("outlier") for name in comparison.task_names]
    )
    logged = []
    for text in compared.methods if kind in report.LOGGED else ():
        parts = [
            read_per_task(run_folder(place, text, seeds), report.LOGGED[kind])
            for seeds in seed_stacks(compared.seeds, compared.stack_seeds)
        ]
        values = np.concatenate([part["values"] for part in parts])
        logged.append(report.TaskHistory(parts[0]["step"], values))
    accuracy = np.stack([result.metrics[..., 0] for result in comparison.methods])
    curves = [result.curves for result in comparison.methods]
    return Arm(regular, accuracy, curves, logged)
