"""The page of a run, made of what its folder holds and of nothing else."""

import datetime
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from mtopt.errors import UserError
from mtopt.training.parameters import MODELS
from mtopt.training.writer import write_text

from ...catalogue import experiment_summary
from .. import data_record
from ..paired import usual_references
from ..results import Comparison
from ..results_file import read_comparisons
from ..standing import ranked
from ..stored_run import CONFIG, VERSIONS, StoredRun, read_run
from ..stored_sweep import StoredSweep, is_sweep, read_sweep
from ..trials import read_trials
from .drawn import pictures_of
from .parts import Command, Page, Pair, Section
from .render import render
from .settings import command, quoted, settings, sweep_command
from .tables import (
    MOST_NUMBERS,
    paired_tables,
    result_tables,
    seed_tables,
    trial_tables,
)
from .words import alerts, summary

NAME = "report.html"


def write_page(folder: pathlib.Path) -> pathlib.Path:
    """Writes ``report.html`` into the folder of a run that has ended.

    Nothing is trained, and no data set read.

    Args:
      folder: of the run.

    Returns:
      The file.

    Raises:
      UserError: where the run has no table yet, or a file of it can't be read.
    """
    path = folder / NAME
    write_text(path, render(page_of(folder)))
    return path


def page_of(folder: pathlib.Path) -> Page:
    """What the page shows; arguments and errors as for :func:`write_page`."""
    try:
        table = (folder / "table.txt").read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"no report in {folder}: {type(error).__name__} on table.txt; expected a "
            f"run that has ended (mtopt run --resume={folder} goes on with it)"
        ) from error
    sweep = read_sweep(folder) if is_sweep(folder) else None
    run = sweep.run if sweep else None
    if (folder / CONFIG).exists():
        run = read_run(folder)
    versions = _read(folder / VERSIONS)
    parts = _comparisons(folder)
    sections = (
        Section(
            "results",
            "Results",
            tables=result_tables(parts),
            text="" if parts else table.rstrip(),
        ),
        Section(
            "paired",
            "Seed by seed",
            tables=paired_tables(parts, _references(run, parts)),
        ),
        _trials(folder) if sweep else Section("trials", "Trials"),
        Section("pictures", "Pictures", pictures=pictures_of(folder)),
        _seeds(parts),
        Section("data", "Data", text=_read(folder / data_record.FILE).get("words", "")),
        Section("again", "Run it again", commands=_commands(folder, run, sweep, parts)),
        _configuration(run),
        Section("versions", "Versions", pairs=_versions(versions)),
    )
    return Page(
        title=run.experiment if run else folder.resolve().name,
        about=experiment_summary(run.experiment) if run else "",
        started=_date(versions),
        summary=summary(parts),
        alerts=alerts(parts),
        sections=tuple(section for section in sections if section.filled),
    )


def _date(versions: dict[str, Any]) -> str:
    """When the run began, without seconds; nothing where that is not known."""
    if "started" not in versions:
        return ""
    return f"{datetime.datetime.fromisoformat(versions['started']):%Y-%m-%d %H:%M %Z}"


def _read(path: pathlib.Path) -> dict[str, Any]:
    """A file of the run; nothing where there is none."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"cannot read {path} ({type(error).__name__}): expected what the run wrote"
        ) from error


def _comparisons(folder: pathlib.Path) -> list[Comparison]:
    """The comparison of a run; none of a project with a report of its own."""
    stored = _read(folder / "results.json")
    return read_comparisons(folder) if "protocol" in stored else []


def _references(run: StoredRun | None, parts: Sequence[Comparison]) -> list[str]:
    """What others are compared with: as the run was told, and as is usual."""
    if not parts:
        return []
    told = getattr(run.config, "paired", 0) if run else 0
    names = [method.name for method in parts[0].methods[:told]]
    return list(dict.fromkeys([*names, *usual_references(parts[0])]))


def _seeds(parts: Sequence[Comparison]) -> Section:
    """Every number, or where they are."""
    count = sum(each.metrics.size for part in parts for each in part.results)
    lines, tables = (), ()
    if count > MOST_NUMBERS:
        lines = (f"{count:,} numbers are too many for a page: mtopt tables has them.",)
    elif parts:
        tables = seed_tables(parts)
    return Section("seeds", "Values of every seed", lines, tables)


def _trials(folder: pathlib.Path) -> Section:
    """The settings of a sweep."""
    found = read_trials(folder)
    lines = (
        "Every method was tuned by the same number of trials, on validation data; test "
        "metrics are those of the chosen trial.",
    )
    return Section("trials", "Trials", lines, trial_tables(found))


def _commands(
    folder: pathlib.Path,
    run: StoredRun | None,
    sweep: StoredSweep | None,
    parts: Sequence[Comparison],
) -> tuple[Command, ...]:
    """What can be done with the run."""
    if run is None:
        return ()
    place = quoted(str(folder))
    words = ("sweep", "compare") if sweep else ("run", "run")
    anew = sweep_command(sweep) if sweep else command(run)
    found = [
        Command(f"The same {words[0]} anew", anew),
        Command(
            "Go on with it, or read it again", f"mtopt {words[1]} --resume={place}"
        ),
        Command("This page anew", f"mtopt report --run={place}"),
    ]
    if parts and (folder / MODELS).exists():
        first = quoted(f"--method={ranked(parts)[0].methods[0].name}")
        new = "--data=FILE --out=predictions.csv"
        predict = f"mtopt predict --run={place} {first} {new}"
        found.append(Command("Predictions for new rows, by the first method", predict))
        other = f"mtopt evaluate --run={place} --split=valid"
        found.append(Command("The same models measured on other data", other))
    if parts:
        tables = f"mtopt tables --run={place} --format=csv"
        found.append(Command("Every number in full", tables))
    if len(parts) == 1 and sweep is None:
        found.append(Command("Sharpness and conflicts", f"mtopt analyze --run={place}"))
    return tuple(found)


def _configuration(run: StoredRun | None) -> Section:
    """What was set in another way than the experiment does, and all fields."""
    fields = settings(run) if run else ()
    changed = tuple(pair for pair in fields if pair.changed)
    lines = () if changed or not fields else ("All as the experiment has it.",)
    return Section("settings", "Configuration", lines, pairs=changed, more=fields)


def _versions(stored: dict[str, Any]) -> tuple[Pair, ...]:
    """What produced the run."""
    packages = stored.get("packages", {})
    found = {
        **packages,
        "python": stored.get("python"),
        "git": stored.get("git"),
        "platform": stored.get("platform"),
        "devices": ", ".join(map(str, stored.get("devices", ()))),
        "command": " ".join(map(quoted, stored.get("command", ()))),
        "started": stored.get("started"),
    }
    return tuple(Pair(name, str(value)) for name, value in found.items() if value)
