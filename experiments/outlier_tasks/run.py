r"""Annotators who answer wrongly: what they cost, and what finding them gives back.

``python -m experiments.main --experiment=outlier_tasks``. Ten tasks name handwritten
digits with one network, three of them adversarial, noisy, or unrelated; see
:func:`mtopt.data.planted_outliers`. Every aggregator trains

========= ===========================================================================
without   the regular tasks alone, as if somebody had told
with      all tasks
weighted  all tasks, in ``outlier_weighted``
gate      all tasks, with two networks and a gate of every task between them
========= ===========================================================================

and, where there is no outlier, the regular tasks in ``outlier_weighted``. It shows the
test accuracy of the regular tasks, and the weights and gates over time. The default,
four aggregators and three seeds, takes about five minutes on two cores;
``--method=all`` tries every aggregator there is.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable

import numpy as np

from experiments import outlier_report as report
from experiments.built import place_of, stacks
from experiments.config import Config as Comparing
from experiments.config import Optimizer
from experiments.ending import conclude
from experiments.outlier_report import GATE, NONE, PLAIN, WEIGHTED, Arm, Outliers
from experiments.runner import prepare_training
from mtopt.data.images.planted_outliers import PLANTS
from mtopt.errors import expect, expect_one_of
from mtopt.training.loop import read_per_task


@dataclasses.dataclass
class Config:
    """Aggregators beside each other on tasks of which some are planted outliers.

    Attributes:
      methods: the aggregators.
      plants: what the outliers do: any of ``adversarial``, ``noisy``, ``unrelated``.
      num_tasks: annotators, 2 to 100.
      num_outliers: how many of them are planted, at least 1.
      hidden: widths of the hidden layers of the network.
      optimizer: what follows the aggregator in the chain.
      seeds: one model each.
      steps: optimizer steps.
      batch_size: samples per task and step.
      eval_every: steps between validations.
      log_every: steps between training records, which hold the weights.
      checkpoint_every: steps between checkpoints.
    """

    methods: tuple[str, ...] = ("equal_weighting", "mgda", "upgrad", "cagrad")
    plants: tuple[str, ...] = PLANTS
    num_tasks: int = 10
    num_outliers: int = 3
    hidden: tuple[int, ...] = (64,)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 1000
    batch_size: int = 32
    eval_every: int = 100
    log_every: int = 20
    checkpoint_every: int = 1000


def get_config() -> Config:
    """The four aggregators that the wrapper was made for, all three plants."""
    return Config()


def prepare(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], None]:
    """Checks and builds everything; see :func:`experiments.runner.prepare`.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    expect(bool(config.plants), "plants", config.plants, f"some of {PLANTS}")
    for plant in config.plants:
        expect_one_of("plants", plant, PLANTS)
    expect(
        len(set(config.plants)) == len(config.plants),
        "plants",
        config.plants,
        "every plant once",
    )
    expect(config.num_outliers > 0, "num_outliers", config.num_outliers, "at least 1")
    training = {
        arm: (compared, prepare_training(compared, experiment, data_dir))
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
        conclude(folder, report.table(found), report.summary(found), draw, started)

    return job


def _comparisons(config: Config) -> dict[tuple[str, str], Comparing]:
    """Every plant and arm as a comparison of all aggregators."""
    wrapped = tuple(f"outlier_weighted({text})" for text in config.methods)

    def compared(plant, methods, keep=True, gate=False):
        options = f"plant={plant!r}, num_tasks={config.num_tasks}, "
        options += f"num_outliers={config.num_outliers}, keep_outliers={keep}"
        return Comparing(
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


def _measured(place: pathlib.Path, compared: Comparing, train, kind: str) -> Arm:
    """Trains one arm; its scores, and what it logged of every task."""
    comparison = train(place)
    regular = np.array(
        [not name.startswith("outlier") for name in comparison.task_names]
    )
    logged = []
    for text in compared.methods if kind in report.LOGGED else ():
        parts = [
            read_per_task(place_of(place, text, seeds), report.LOGGED[kind])
            for seeds in stacks(compared)
        ]
        values = np.concatenate([part["values"] for part in parts])
        logged.append(report.Logged(parts[0]["step"], values))
    accuracy = np.stack([result.metrics[..., 0] for result in comparison.methods])
    return Arm(regular, accuracy, logged)
