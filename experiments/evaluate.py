"""The models of a finished run measured on another part of its data, or on a file.

``python -m experiments.evaluate --run=RUN --split=valid``, or ``mtopt evaluate``, reads
the data of the run again. ``--data=FILE`` names a file in its place, of the kind that
the run was trained on, with the labels that training had: see ``mtopt predict``. Where
that is one array, as images are, the file is an ``.npz`` with ``x`` and an array of
labels for each task, by its name.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from absl import flags

import mtopt
from mtopt.data import fingerprint
from mtopt.data.division import SPLITS
from mtopt.errors import UserError
from mtopt.trained.model import TrainedModel
from mtopt.training.evaluate import metric_tasks

from .common.building import load_dataset
from .common.command import command, data_dir, start
from .common.comparison_sheet import comparison_sheet
from .common.data_record import check_data
from .common.places import DATA, RUN, finished_run
from .common.raw_file import labels_beside, read_raw
from .common.results import Comparison, MethodResult
from .common.results_file import read_comparisons
from .common.stored_sweep import read_run_or_sweep
from .common.table import to_text

Score = Callable[[TrainedModel], Mapping[str, Mapping[str, float]]]

flags.DEFINE_enum(
    "split", None, SPLITS, "A part of the data of the run; test unless given."
)
for _flag in (RUN, DATA):
    flags.declare_key_flag(_flag.name)
flags.declare_key_flag("data_dir")
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Measures every method and seed, and prints the table."""
    del argv
    run = finished_run()
    if FLAGS.split and DATA.value:
        raise UserError("--split and --data both say what to measure on: expected one")
    parts = read_comparisons(run)
    if DATA.value is None:
        what = FLAGS.split or "test"
        score = _on_split(run, what)
    else:
        what, score = pathlib.Path(DATA.value).name, _on_file(pathlib.Path(DATA.value))
    print(to_text(comparison_sheet(measured_again(run, parts, score, what))))


def measured_again(
    run: pathlib.Path, parts: list[Comparison], score: Score, what: str
) -> list[Comparison]:
    """The comparisons of a run with other metrics in place of those of the test.

    Args:
      run: its folder.
      parts: what it holds.
      score: of a model, task to metric to value.
      what: what that is measured on.
    """
    found = {}
    for result in parts[0].results:
        for seed in result.seeds:
            model = mtopt.load(run, method=result.name, seed=seed)
            found[result.name, seed] = score(model)

    def again(part: Comparison, result: MethodResult) -> MethodResult:
        metrics = np.array(
            [
                [
                    [found[result.name, seed][task][name] for name in part.metric_names]
                    for task in part.task_names
                ]
                for seed in result.seeds
            ]
        )
        # A model that diverged has none on any data.
        gone = np.isnan(result.metrics).all(axis=(1, 2))
        metrics[gone] = np.nan
        return MethodResult(result.name, metrics, {}, result.notes, result.seeds)

    return [
        dataclasses.replace(
            part,
            baseline=part.baseline and again(part, part.baseline),
            methods=[again(part, method) for method in part.methods],
            measured_on=what,
        )
        for part in parts
    ]


def _on_split(run: pathlib.Path, what: str) -> Score:
    """On a part of the data that the run was trained on."""
    stored = read_run_or_sweep(run)
    own = data_dir() if FLAGS["data_dir"].present else stored.data_dir
    dataset = load_dataset(stored.config.data, own)
    check_data(run, fingerprint(dataset))

    def score(model: TrainedModel) -> Mapping[str, Mapping[str, float]]:
        metrics = model.evaluate(dataset, getattr(dataset, what)).metrics[0]
        columns = list(enumerate(metric_tasks(dataset)))
        return {
            task: {name: float(metrics[k, m]) for m, name in columns}
            for k, task in enumerate(dataset.tasks)
        }

    return score


def _on_file(path: pathlib.Path) -> Score:
    """On the rows of a file, which every model reads as it was trained."""

    def score(model: TrainedModel) -> Mapping[str, Mapping[str, float]]:
        found = model.score(read_raw(path, model), labels_beside(path, model))
        if missing := [task for task in model.tasks if task not in found]:
            raise UserError(
                f"{path} has no labels of {', '.join(missing)}: expected those of "
                "every task"
            )
        return found

    return score


if __name__ == "__main__":
    start(main)
