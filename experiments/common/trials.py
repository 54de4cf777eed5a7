"""The trials of a sweep: ``trials.csv``, and the settings that were chosen."""

import csv
import io
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from mtopt.errors import UserError
from mtopt.training.writer import write_text

from .sheet import UNDEFINED, Block, Cell, Column, Sheet, number, sensible_decimals

FILE = "trials.csv"


class Trial(NamedTuple):
    """One setting of a method.

    Attributes:
      method: its name in the table.
      number: of the trial, from 1.
      setting: the method with its options.
      learning_rate: of the optimizer behind it.
      validation: what it was judged by, the mean over seeds; nan where one diverged.
      chosen: whether the table has it.
      unit: the name of its folder.
      notes: what went wrong, in one line.
    """

    method: str
    number: int
    setting: str
    learning_rate: float
    validation: float
    chosen: bool
    unit: str
    notes: str


def write_trials(folder: pathlib.Path, trials: Sequence[Trial]) -> None:
    """Writes ``trials.csv``, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Trial._fields)
    writer.writerows(
        trial._replace(
            validation="" if math.isnan(trial.validation) else trial.validation,
            chosen=int(trial.chosen),
        )
        for trial in trials
    )
    write_text(folder / FILE, text.getvalue())


def read_trials(folder: pathlib.Path) -> list[Trial]:
    """Those of a sweep that has ended.

    Raises:
      UserError: where the file is no such.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Trial(
                    row["method"],
                    int(row["number"]),
                    row["setting"],
                    float(row["learning_rate"]),
                    float(row["validation"] or "nan"),
                    row["chosen"] == "1",
                    row["unit"],
                    row["notes"],
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot read {path} ({type(error).__name__}): expected what a sweep "
            "wrote; mtopt compare --resume writes it again"
        ) from error


def chosen_sheet(trials: Sequence[Trial], criterion: str) -> Sheet:
    """The setting of every method that its trials chose.

    Args:
      trials: of all methods.
      criterion: what they were judged by, in words.
    """
    chosen = [trial for trial in trials if trial.chosen]
    decimals = sensible_decimals([trial.validation for trial in trials])
    of_each = {t.method: [o for o in trials if o.method == t.method] for t in chosen}
    cells = {
        "trial": [
            Cell(f"{trial.number} of {len(of_each[trial.method])}") for trial in chosen
        ],
        "learning rate": [Cell(f"{trial.learning_rate:g}") for trial in chosen],
        "validation": [Cell(number(trial.validation, decimals)) for trial in chosen],
        "of all trials": [
            Cell(_range(of_each[trial.method], decimals)) for trial in chosen
        ],
    }
    if any(trial.notes for trial in trials):
        lost = [sum(bool(o.notes) for o in of_each[trial.method]) for trial in chosen]
        cells["failed"] = [Cell(str(count)) for count in lost]
    columns = [Column(head, found) for head, found in cells.items()]
    legend = [f"validation: {criterion}, the mean over seeds."]
    if "failed" in cells:
        legend.append("failed: trials that failed, or diverged with some seed.")
    legend += [
        f"{trial.method}: {trial.setting}."
        for trial in chosen
        if "(" in trial.setting and trial.setting != trial.method
    ]
    names = tuple(trial.method for trial in chosen)
    return Sheet([Block("chosen on validation data", names, [columns])], legend, {})


def trial_sheet(trials: Sequence[Trial]) -> Sheet:
    """All trials, a row each."""
    decimals = sensible_decimals([trial.validation for trial in trials])
    cells = {
        "setting": [Cell(trial.setting) for trial in trials],
        "learning rate": [Cell(f"{trial.learning_rate:g}") for trial in trials],
        "validation": [Cell(number(trial.validation, decimals)) for trial in trials],
        "": [Cell("chosen" * trial.chosen) for trial in trials],
    }
    names = tuple(f"{trial.method}, trial {trial.number}" for trial in trials)
    columns = [Column(head, found) for head, found in cells.items()]
    title = f"all {len(trials)} trials"
    notes = [trial.notes for trial in trials if trial.notes]
    return Sheet([Block(title, names, [columns])], notes, {})


def _range(trials: Sequence[Trial], decimals: int) -> str:
    """From the lowest to the highest value."""
    values = [t.validation for t in trials if not math.isnan(t.validation)]
    if not values:
        return UNDEFINED
    return " to ".join(number(v, decimals) for v in (min(values), max(values)))
