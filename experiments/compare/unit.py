"""A unit of a sweep: one trial of one method, all its seeds, in a folder of its own.

It is a function of its configuration alone. Its folder has ``unit.json``, what it is;
``log.txt``, what it printed; all that a run leaves; ``test.json``, the comparison that
it is, with its test metrics; and, written last and in one move, ``finished.json``:
what tuning may read, from validation data.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import time
import traceback
from typing import Any, NamedTuple

import jax
import numpy as np

from mtopt.errors import UserError
from mtopt.training.fit import Validation, read_validation
from mtopt.training.writer import write_json

from ..common import results_file
from ..common.allocator import keep_freed_memory
from ..common.compilation_cache import keep_compiled_programs
from ..common.config import Config
from ..common.results import Comparison
from ..common.run_folder import folder_name, run_folder
from ..common.run_lock import held
from ..common.runner import Training, train_all
from ..common.stored_run import StoredRun, to_plain
from ..common.tuned import Numbers

THREADS = "NPROC"
"""The variable that tells XLA how many threads a CPU has for it."""
FINISHED = "finished.json"
TEST = "test.json"


class Unit(NamedTuple):
    """What is trained.

    Attributes:
      method: its name in the table.
      trial: its number, from 1.
      run: of one method, with the values of the trial; of the single-task models alone
        where its configuration asks for them.
      first: the configuration of the method's first trial, whose programs serve all.
      numbers: what was drawn for this one.
    """

    method: str
    trial: int
    run: StoredRun
    first: Config
    numbers: Numbers

    @property
    def name(self) -> str:
        """That of its folder: another for every other configuration."""
        what = [self.method, self.run.experiment, dataclasses.asdict(self.run.config)]
        text = json.dumps(what, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{folder_name(self.method)}-{digest}"

    @property
    def setting(self) -> str:
        """The method with its drawn options; single-task models have none."""
        (text,) = self.run.config.methods
        return self.method if self.run.config.single_task else text


class Outcome(NamedTuple):
    """What tuning may read of a unit that is finished.

    Attributes:
      scores: by which the models were chosen, the mean of tasks, one a seed; NaN for a
        seed that diverged, and for all of a unit that failed.
      metrics: on validation data, task to metric to one value a seed; empty where the
        unit failed.
      notes: what went wrong, a line each.
    """

    scores: np.ndarray
    metrics: dict[str, dict[str, np.ndarray]]
    notes: tuple[str, ...]


def is_finished(folder: pathlib.Path) -> bool:
    """Whether the unit of a folder has come to its end, or failed."""
    return (folder / FINISHED).exists()


def run_unit(
    unit: Unit, folder: pathlib.Path, command: str, cache: str | None = None
) -> None:
    """Trains what the unit has not finished yet, and writes what came of it.

    One thread computes, so that the numbers are those of any number of workers. The
    trials of a method that a process is given one after another are traced and
    compiled once, and their data are read once.

    Args:
      unit: what to train.
      folder: of the unit. Of several processes that are given it the later ones wait.
      command: another for every call of the command, between which data may change.
      cache: the folder of compiled programs, as the flag names it.

    Raises:
      UserError: where the folder can't be made. What fails in training is written down.
    """
    os.environ[THREADS] = "1"  # read when JAX first counts its devices
    with held(folder, wait=True):
        if is_finished(folder):
            return
        before = time.process_time()
        stored = {"method": unit.method, "trial": unit.trial, **to_plain(unit.run)}
        write_json(folder / "unit.json", stored)
        with (
            (folder / "log.txt").open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            try:
                keep_freed_memory()
                keep_compiled_programs(cache)
                found = _trained(unit, folder, command)
            except Exception as error:
                traceback.print_exc()
                what = error if isinstance(error, UserError) else repr(error)
                found = _failed(unit, " ".join(str(what).split()))
        found["cpu_seconds"] = time.process_time() - before
        write_json(folder / FINISHED, found)


def write_failed(unit: Unit, folder: pathlib.Path, why: str) -> None:
    """Notes of a unit that can't do so itself that it failed."""
    with held(folder, wait=True):
        write_json(folder / FINISHED, _failed(unit, why))


def read_outcome(folder: pathlib.Path) -> Outcome:
    """What tuning may read of a unit.

    Raises:
      UserError: where it has not finished, or something else wrote there.
    """
    path = folder / FINISHED
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(
            np.array(stored["scores"], np.float64),
            {
                task: {n: np.array(v, np.float64) for n, v in own.items()}
                for task, own in stored["metrics"].items()
            },
            tuple(stored["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"cannot read {path} ({type(error).__name__}): expected what a unit of a "
            f"sweep wrote; delete the folder {folder} to train it again"
        ) from error


def read_cpu_seconds(folder: pathlib.Path) -> float:
    """What a finished unit took of one core, compilation included.

    Of one that was stopped, since it went on; 0 where its process ended without a word.
    """
    stored = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    return float(stored.get("cpu_seconds", 0.0))


def read_test(folder: pathlib.Path) -> list[Comparison] | None:
    """What a unit gave on test data, a comparison a group; None where it failed."""
    path = folder / TEST
    return results_file.read_comparisons(path) if path.exists() else None


def _trained(unit: Unit, folder: pathlib.Path, command: str) -> dict[str, Any]:
    """Trains, and writes all but :data:`FINISHED`, which it returns."""
    config = unit.run.config
    training = _training(unit, command)
    parts = train_all(training, config, unit.run.experiment, folder)
    write_json(folder / TEST, results_file.to_plain(parts))
    found = _validation(training, folder)
    notes = [note for part in parts for each in part.results for note in each.notes]
    return {
        "scores": found.scores.mean(axis=1),
        "metrics": found.metrics,
        "notes": list(dict.fromkeys(notes)),
    }


def _training(unit: Unit, command: str) -> Training:
    """What the unit trains, by the programs of earlier trials where there are some."""
    first = json.dumps(dataclasses.asdict(unit.first), sort_keys=True)
    if (first, command) not in _LATEST:
        _LATEST.clear()
        jax.clear_caches()  # the programs of another method
        numbers, data_dir = unit.numbers, unit.run.data_dir
        _LATEST[first, command] = Training.of(unit.first, data_dir, numbers)
    made = _LATEST[first, command]
    (text,) = unit.run.config.methods
    alone = unit.run.config.single_task
    return made._replace(
        baselines=[run.at(unit.numbers, run.text) for run in made.baselines],
        methods=[run.at(unit.numbers, text) for run in made.methods if not alone],
    )


_LATEST: dict[tuple[str, str], Training] = {}
"""The method that this process has trained last, and the command that it was for."""


def _validation(training: Training, folder: pathlib.Path) -> Validation:
    """That of all seeds and tasks."""
    scores, metrics = [], {}
    for run in (*training.baselines, *training.methods):
        stacks = [
            read_validation(run_folder(folder, run.text, seeds))
            for seeds in training.stacks
        ]
        scores.append(np.concatenate([stack.scores for stack in stacks]))
        for task, own in stacks[0].metrics.items():
            metrics[task] = {
                name: [v for stack in stacks for v in stack.metrics[task][name]]
                for name in own
            }
    return Validation(np.concatenate(scores, axis=1), metrics)


def _failed(unit: Unit, why: str) -> dict[str, Any]:
    """What is written of a unit without numbers."""
    scores = [math.nan] * len(unit.run.config.seeds)
    note = f"{unit.method}: trial {unit.trial} failed: {why}"
    return {"scores": scores, "metrics": {}, "notes": [note]}
