"""A sweep before anything of it has run: its units, checked."""

import dataclasses
import pathlib
from typing import NamedTuple

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.training.criterion import Criterion, criterion

from ..common.building import make_aggregators, parse_compared_methods
from ..common.config import Config
from ..common.runner import SINGLE_TASK, Training
from ..common.stored_sweep import StoredSweep
from .space import Draw, draws
from .unit import Unit

PLAIN = "equal_weighting"
"""A method without options, beside single-task models that have no method."""


class Plan(NamedTuple):
    """What a sweep trains.

    Attributes:
      sweep: what was asked for.
      dataset: on this.
      criterion: what trials are chosen by.
      units: of the single-task models, then of every method, trial by trial.
    """

    sweep: StoredSweep
    dataset: Dataset | JointDataset
    criterion: Criterion
    units: dict[str, list[Unit]]

    @property
    def config(self) -> Config:
        """That of the experiment."""
        return self.sweep.run.config

    def folders(self, folder: pathlib.Path) -> dict[pathlib.Path, Unit]:
        """Every unit by its folder in that of the sweep."""
        every = [unit for units in self.units.values() for unit in units]
        return {folder / "units" / unit.name: unit for unit in every}


def plan(sweep: StoredSweep) -> Plan:
    """Checks and draws all that a sweep trains, without touching a file.

    Args:
      sweep: what was asked for.

    Raises:
      UserError: for anything that can't be run.
    """
    experiment, config, data_dir = sweep.run
    if type(config) is not Config:
        raise UserError(
            f"{experiment} has a way of its own to train: expected an experiment that "
            "compares methods on one data set, such as multi_digits"
        )
    config.check()
    bare = dataclasses.replace(config, methods=(PLAIN,), single_task=True)
    dataset = Training.of(bare, data_dir).dataset

    def drawn(method: str, text: str) -> list[Draw]:
        return draws(
            experiment,
            method,
            text,
            learning_rate=config.optimizer.learning_rate,
            num_tasks=len(dataset.tasks),
            trials=sweep.trials,
        )

    def config_of(draw: Draw, alone: bool) -> Config:
        rate = draw.numbers.learning_rate
        return dataclasses.replace(
            config,
            methods=(draw.text,),
            single_task=alone,
            paired=0,
            optimizer=dataclasses.replace(config.optimizer, learning_rate=rate),
        )

    def trials(method: str, text: str) -> list[Unit]:
        alone, every = method not in config.methods, drawn(method, text)
        first = config_of(every[0], alone)
        return [
            Unit(
                method,
                trial,
                sweep.run._replace(config=config_of(draw, alone)),
                first,
                draw.numbers,
            )
            for trial, draw in enumerate(every, 1)
        ]

    asked = {SINGLE_TASK: PLAIN, **{text: text for text in config.methods}}
    units = {method: trials(method, text) for method, text in asked.items()}
    every = [
        text for own in units.values() for u in own for text in u.run.config.methods
    ]
    whole = dataclasses.replace(config, methods=tuple(dict.fromkeys(every)))
    make_aggregators(parse_compared_methods(whole), dataset, config.batch_size)
    # Unless told otherwise, trials are chosen by what their models are chosen by.
    by = criterion(sweep.by or config.choose_by, dataset, "--by")
    return Plan(sweep, dataset, by, units)
