"""The table over all sets of the suite that a folder has."""

import functools
import json
import pathlib
from collections.abc import Mapping

from mtopt.errors import UserError
from mtopt.training.writer import write_text

from ..common.critical_differences import critical_differences, enough
from ..common.gains_picture import gains
from ..common.over_sets import OverSets, over_sets, to_csv
from ..common.over_sets_sheet import SetResult, over_sets_sheet
from ..common.page.folder import NAME as PAGE
from ..common.paired import TUNED_WEIGHTS
from ..common.report import write_report
from ..common.results_file import read_comparisons, to_plain
from ..common.table import to_text
from ..common.trials import read_trials
from . import suite_sets
from .plan import PLAIN
from .unit import read_cpu_seconds

TOOK = "took.json"
"""Of a set that is no sweep: what its training took of all cores."""


def report(root: pathlib.Path, absent: Mapping[str, str], started: float) -> None:
    """Writes and prints the tables of all sets that have ended, by whichever command.

    What stands there already is printed alone.

    Args:
      root: the folder of the suite.
      absent: the sets that could not be run now, and why.
      started: when the command did, in seconds of ``time.time``.

    Raises:
      UserError: where no set has ended.
    """
    suite = suite_sets.SUITE
    names = [name for name in suite if (root / name / PAGE).exists()]
    if not names:
        reasons = "; ".join(f"{name}: {why}" for name, why in absent.items())
        raise UserError(f"{root} has no set that is finished ({reasons})")
    projects = [name for name in names if suite[name].is_project]
    sets = {name: _result(root / name) for name in names if name not in projects}
    lines = [
        f"Left out, {name}: {absent.get(name, 'not run in this folder yet')}."
        for name in suite
        if name not in names
    ]
    texts = [_project(root / name) for name in projects]
    found = None
    if sets:
        parts = {name: each.parts for name, each in sets.items()}
        found = over_sets(parts, TUNED_WEIGHTS)
        beside = over_sets(parts, PLAIN)
        lines = [_protocol(sets), *lines]
        sheet = over_sets_sheet(found, sets, beside=beside, lines=lines)
        texts = [to_text(sheet), *texts]
    else:
        texts += lines
    _written(root, "\n\n".join(texts), found, started)


def _written(
    root: pathlib.Path, text: str, found: OverSets | None, started: float
) -> None:
    """The files, where they are others than those that stand there."""
    table = root / "table.txt"
    if (root / PAGE).exists() and table.read_text(encoding="utf-8") == text + "\n":
        print(f"\n{text}\n\nnothing was left to do: {root} had it all")
        return
    (root / PAGE).unlink(missing_ok=True)  # the last file to be written
    results, pictures = {}, {}
    if found is not None:
        write_text(root / "suite.csv", to_csv(found) + "\n")
        results = {"over_sets": to_plain([found.gains])["groups"][0]}
        pictures["gains.png"] = functools.partial(gains, found)
        if enough([found.gains]):
            draw = functools.partial(critical_differences, of="data sets")
            pictures["ranks.png"] = functools.partial(draw, [found.gains])
    write_report(root, text, results, pictures, started)


def _result(place: pathlib.Path) -> SetResult:
    """What the folder of a sweep says of it."""
    trials = read_trials(place)
    seconds = [read_cpu_seconds(place / "units" / trial.unit) for trial in trials]
    failed = sum(bool(trial.notes) for trial in trials)
    return SetResult(read_comparisons(place), sum(seconds), len(trials), failed)


def _project(place: pathlib.Path) -> str:
    """The table of a set that is no sweep, as it stands in its folder."""
    table = (place / "table.txt").read_text(encoding="utf-8").rstrip()
    took = json.loads((place / TOOK).read_text(encoding="utf-8"))["cpu_seconds"]
    return f"{place.name}: not tuned; {took / 60:.1f} CPU min\n\n{table}"


def _protocol(sets: Mapping[str, SetResult]) -> str:
    """The budget, and what it took."""
    total = sum(each.cpu_seconds for each in sets.values()) / 3600
    seeds = ", ".join(map(str, suite_sets.SEEDS))
    return (
        f"Protocol: {suite_sets.TRIALS} trials of every method and of the single-task "
        "models, drawn at random from its search space; the best on validation data is "
        f"tested, once; seeds {seeds}; {total:.1f} hours of one core. "
        "Each set has a table, its trials and its protocol in a folder of its own."
    )
