"""What a sweep ends with: choices made on validation data, then their test metrics."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.errors import UserError
from mtopt.metrics import metrics_of
from mtopt.trained.stored import read_models, write_models
from mtopt.training.evaluate import metric_tasks

from ..common.gallery import gallery
from ..common.groups import compared_by_group
from ..common.page.folder import NAME
from ..common.protocol import protocol
from ..common.report import Diverged, write_report
from ..common.results import Comparison, MethodResult
from ..common.results_file import to_plain
from ..common.runner import report_text
from ..common.several_runs import put_together
from ..common.table import to_text
from ..common.trials import Trial, chosen_sheet, write_trials
from .criterion import best_of, value_of
from .plan import Plan
from .space import DECADE
from .unit import Outcome, Unit, read_outcome, read_test


def end(plan: Plan, folder: pathlib.Path, started: float) -> None:
    """Writes and prints the report of a sweep whose units are all finished.

    One that stands there already is printed alone.

    Args:
      plan: of the sweep.
      folder: of the sweep.
      started: when it did, in seconds of ``time.time``.

    Raises:
      UserError: where no method has a number.
      Diverged: where all is done, and some trials failed or diverged.
    """
    trials, chosen = _chosen(plan, folder)
    parts = _compared(plan, folder, chosen, trials)
    results = to_plain(parts)
    text = report_text(parts, plan.config.paired)
    text += "\n\n" + to_text(chosen_sheet(trials, plan.criterion.words))
    page = folder / NAME
    if page.exists() and _stored(folder) == json.loads(json.dumps(results)):
        print(f"\n{text}\n\nnothing was left to do: {folder} had it all")
    else:
        page.unlink(missing_ok=True)  # the last file to be written says that all are
        write_trials(folder, trials)
        _write_models(folder, chosen)
        write_report(folder, text, results, gallery(folder, parts), started)
    if bad := [trial for trial in trials if trial.notes]:
        names = ", ".join(dict.fromkeys(trial.method for trial in bad))
        raise Diverged(
            f"{len(bad)} of {len(trials)} trials failed or diverged ({names}): "
            f"{bad[0].notes}; the table has the best of the others, and trials.csv all"
        )


def _write_models(folder: pathlib.Path, chosen: Sequence[Unit]) -> None:
    """Those of the chosen trials, as if they had been trained in one run."""
    found, described = [], None
    for unit in chosen:
        place = pathlib.Path("units") / unit.name
        if read_test(folder / place) is not None:
            described, own = read_models(folder / place)
            found += [
                each._replace(method=unit.method, folder=str(place / each.folder))
                for each in own
            ]
    if described is not None:
        write_models(folder, described, found)


def _stored(folder: pathlib.Path) -> object:
    """What ``results.json`` holds; nothing where it can't be read."""
    try:
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _chosen(plan: Plan, folder: pathlib.Path) -> tuple[list[Trial], list[Unit]]:
    """All trials, and the best one of each method: validation data alone decides."""
    trials, chosen = [], []
    for units in plan.units.values():
        outcomes = [read_outcome(folder / "units" / unit.name) for unit in units]
        best = best_of(plan.criterion, outcomes)
        chosen.append(units[best])
        trials += [
            _trial(plan, unit, outcome, unit is units[best])
            for unit, outcome in zip(units, outcomes, strict=True)
        ]
    return trials, chosen


def _trial(plan: Plan, unit: Unit, outcome: Outcome, chosen: bool) -> Trial:
    return Trial(
        unit.method,
        unit.trial,
        unit.setting,
        unit.run.config.optimizer.learning_rate,
        value_of(plan.criterion, outcome),
        chosen,
        unit.name,
        "; ".join(outcome.notes),
    )


def _compared(
    plan: Plan,
    folder: pathlib.Path,
    chosen: Sequence[Unit],
    trials: Sequence[Trial],
) -> list[Comparison]:
    """The test metrics of the chosen trials, side by side."""
    line = (_protocol(plan),)
    found = []
    for unit in chosen:
        place = folder / "units" / unit.name
        parts = read_test(place)
        if parts is None:
            parts = _without_numbers(plan, unit, read_outcome(place).notes)
        found.append([_renamed(part, unit.method, line) for part in parts])
    together = put_together(found)
    if all(np.isnan(row.metrics).all() for part in together for row in part.methods):
        said = next((trial.notes for trial in trials if trial.notes), "")
        raise UserError(
            f"no trial of {folder} has a number: expected one at least ({said}); the "
            f"logs are in {folder / 'units'}"
        )
    return together


def _renamed(part: Comparison, name: str, line: tuple[str, ...]) -> Comparison:
    """The one row of a unit under the name of its method, as the table has it.

    Units run side by side, on whatever machine: what a step took compares with nothing.
    """

    def renamed(row: MethodResult) -> MethodResult:
        return dataclasses.replace(row, name=name, seconds_per_step=float("nan"))

    return dataclasses.replace(
        part,
        baseline=part.baseline and renamed(part.baseline),
        methods=list(map(renamed, part.methods)),
        protocol=line,
    )


def _without_numbers(
    plan: Plan, unit: Unit, notes: tuple[str, ...]
) -> list[Comparison]:
    """A unit that failed, as all of its method did."""
    seeds = unit.run.config.seeds
    experiment, dataset = unit.run.experiment, plan.dataset

    def lost(tasks: int, metrics: int) -> MethodResult:
        numbers = np.full((len(seeds), tasks, metrics), np.nan)
        return MethodResult(unit.method, numbers, {}, notes, seeds)

    def alone(group: Dataset) -> MethodResult:
        return lost(len(group.tasks), len(metrics_of(group.kind)))

    if unit.run.config.single_task:
        return compared_by_group(
            experiment, dataset, list(map(alone, dataset.groups)), []
        )
    together = lost(len(dataset.tasks), len(metric_tasks(dataset)))
    return compared_by_group(experiment, dataset, [], [together])


def _protocol(plan: Plan) -> str:
    """How a run trains, and the budget of the trials."""
    rate = plan.config.optimizer.learning_rate
    trials = f"{plan.sweep.trials} trial" + "s" * (plan.sweep.trials > 1)
    line = protocol(plan.config, plan.dataset, "a tuned learning rate")
    return (
        f"{line}, of the chosen trial alone; {trials} of every method and of the "
        "single-task models, with learning rates from "
        f"{rate / DECADE:g} to {rate * DECADE:g} and the options of each method's "
        f"search space, drawn at random; chosen by {plan.criterion.words}"
    )
