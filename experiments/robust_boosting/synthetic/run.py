"""Fits boosted learners to repeated draws of a scenario."""

import pathlib
import time

import jax
import numpy as np

from mtopt.data.tables.boosting_scenarios import scenario

from ...common.data_record import record_data
from ...common.experiment import Job
from ...common.report import write_report
from ..description import describe_rows, summary
from ..learners import build, folds, run_all
from . import report
from .config import Config

COUNTS = {
    "r_mtgb": (0, 50, 0),
    "mtgb": (30, 0, 20),
    "stl": (0, 0, 30),
    "pooling": (50, 0, 0),
    "task_as_feature": (50, 0, 0),
}
LONGEST = 50  # iterations of a block that a search tries


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: not used; the tasks are drawn.

    Returns:
      The job: called with a folder, it runs the learners that are not finished there
      yet, and leaves predictions, results, the table and the pictures in it.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    del data_dir
    config.check()
    learners = build(config.methods, COUNTS, LONGEST)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        seeds = tuple(range(config.repeats))
        draws = [scenario(config.scenario, seed, kind=config.kind) for seed in seeds]
        train, test = (
            jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
            for parts in ([d.train for d in draws], [d.test for d in draws])
        )
        name = f"scenario {config.scenario}"
        described = describe_rows(name, config.kind, train, test)
        record_data(folder, described, summary(described))
        fold = None
        if config.search:
            each = [folds(draw.train, s) for s, draw in enumerate(draws)]
            fold = np.stack(each)
        fitted = run_all(
            folder / "predictions.npz",
            learners,
            train,
            test,
            fold,
            num_tasks=1 + int(test.task.max()),
            learning_rate=config.learning_rate,
            num_classes=2 if config.kind == "classification" else None,
            seeds=seeds,
        )
        result = report.Result(experiment, config, test, draws[0].outliers, fitted)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            report.pictures(result),
            started,
        )

    return job
