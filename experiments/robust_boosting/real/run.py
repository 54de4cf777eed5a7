"""Fits boosted learners to the tables of the paper."""

import pathlib
import time

import numpy as np

from mtopt.data.fingerprint import fingerprint_of
from mtopt.data.tables.boosting_scenarios import Rows
from mtopt.errors import UserError

from ...common.data_record import record_data
from ...common.experiment import Job
from ...common.report import write_report
from ..description import describe_rows, summary
from ..learners import LEARNERS, Fitted, Learner, build, folds, run_all
from . import report
from .config import Config
from .published import SOURCES
from .tables import SPLIT_SEED, Table, data_file, read_table

LONGEST = 100  # iterations of a block that a search tries


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and reads all that the runs need, without writing a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the folder of the data sets.

    Returns:
      The job: called with a folder, it runs the learners that are not finished there
      yet, and leaves predictions, results, the table and the pictures in it.

    Raises:
      UserError: for anything in the configuration that can't be run, or a missing or
        damaged data set.
    """
    config.check()
    if data_dir is None:
        raise UserError(
            "no folder of data sets: name one with --data_dir or MTOPT_DATA_DIR"
        )
    names = _names(config.data, data_dir)
    learners = {}
    for name in names:
        counts = dict(zip(LEARNERS, SOURCES[name].counts, strict=True))
        learners[name] = build(config.methods, counts, LONGEST)
    tables = [read_table(name, data_dir) for name in names]

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        _record(folder, tables)
        fitted = [
            (data, _fitted(folder, data, learners[data.name], config))
            for data in tables
        ]
        result = report.Result(experiment, config, fitted)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            report.pictures(result),
            started,
        )

    return job


def _record(folder: pathlib.Path, tables: list[Table]) -> None:
    """Says and stores what the tables were understood to be."""
    sets = [describe_rows(t.name, t.kind, t.train, t.test) for t in tables]
    described = {
        "fingerprint": fingerprint_of(None, *(s["fingerprint"] for s in sets)),
        "sets": sets,
    }
    record_data(folder, described, "\n".join(map(summary, sets)))


def _names(asked: tuple[str, ...], data_dir: pathlib.Path) -> list[str]:
    """The data sets to run."""
    found = [name for name in SOURCES if data_file(name, data_dir).is_file()]
    if "all" in asked and not found:
        raise UserError(
            f"{data_dir} has no NAME/data.npz: expected one of {', '.join(SOURCES)}"
        )
    return found if "all" in asked else [name for name in SOURCES if name in asked]


def _fitted(
    folder: pathlib.Path, data: Table, learners: dict[str, Learner], config: Config
) -> dict[str, Fitted]:
    """What the learners came to; predictions in units of the target."""
    train, test = data.train, data.test
    scale = data.num_classes is None and config.standardize
    mean, spread = (train.targets.mean(), train.targets.std()) if scale else (0, 1)
    if scale:
        train = train._replace(targets=(train.targets - mean) / (spread or 1))
    fold = folds(train, SPLIT_SEED) if config.search else None
    found = {}
    for name, learner in learners.items():
        # Without block 2 theta has no effect.
        moves = any(learner.grid[1]) if config.search else learner.counts[1]
        seeds = config.seeds if moves else config.seeds[:1]
        found |= run_all(
            folder / f"{data.name}.npz",
            {name: learner},
            _repeated(train, len(seeds)),
            _repeated(test, len(seeds)),
            None if fold is None else np.stack([fold] * len(seeds)),
            num_tasks=data.num_tasks,
            learning_rate=config.learning_rate,
            num_classes=data.num_classes,
            seeds=seeds,
        )
    if not scale:
        return found
    return {
        name: fitted._replace(predictions=mean + (spread or 1) * fitted.predictions)
        for name, fitted in found.items()
    }


def _repeated(rows: Rows, times: int) -> Rows:
    return Rows(*(np.broadcast_to(leaf, (times, *leaf.shape)) for leaf in rows))
