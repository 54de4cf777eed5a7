"""The suite of real data: every method at an equal budget on a dozen sets, one table.

``python -m experiments.suite --data_dir=DIR --out=FOLDER``, or ``mtopt suite``. The
same command goes on where it was stopped; once all is there it prints the table.
"""

import contextlib
import functools
import io
import pathlib
import sys
import time
from collections.abc import Mapping

from absl import flags

from mtopt.errors import UserError
from mtopt.training.writer import write_text

from .common.command import command, data_dir, parse_flags, start
from .common.compilation_cache import FLAG as CACHE
from .common.critical_differences import critical_differences, enough
from .common.gains_picture import gains
from .common.over_sets import over_sets, to_csv
from .common.over_sets_sheet import SetResult, over_sets_sheet
from .common.page.folder import NAME as PAGE
from .common.paired import TUNED_WEIGHTS
from .common.places import METHOD, OUT, RESUME
from .common.report import Diverged, write_report
from .common.results_file import read_comparisons, to_plain
from .common.run_lock import held
from .common.table import to_text
from .common.trials import read_trials
from .compare import suite_sets
from .compare.ending import end
from .compare.plan import PLAIN, Plan, plan
from .compare.suite_sets import named_sets, sweep_of
from .compare.together import CLUSTER, JOBS, added, train
from .compare.unit import read_cpu_seconds

SETS = flags.DEFINE_list(
    "sets",
    [],
    "The part of the suite to run, separated by commas: "
    f"{', '.join(suite_sets.SUITE)}, or a group of them: "
    f"{', '.join(suite_sets.GROUPS)}. All unless given.",
)
for _flag in (OUT, JOBS, CLUSTER):
    flags.declare_key_flag(_flag.name)
for _name in ("data_dir", CACHE):
    flags.declare_key_flag(_name)


@command
def main(argv: list[str]) -> None:
    """Runs what is not finished, set by set, and ends with the table over all sets."""
    del argv
    started = time.time()
    _check_flags()
    folder = data_dir()
    root = pathlib.Path(OUT.value or "runs/suite")
    wrong, absent = [], {}
    with held(root):
        for name in named_sets(SETS.value):
            place = root / name
            sweep = added(sweep_of(name, folder), place)
            try:
                each = plan(sweep)
            except UserError as error:
                absent[name] = str(error)
                print(f"{name}: left out: {error}", flush=True)
                continue
            try:
                train({place: each})
                _end(each, place)
            except KeyboardInterrupt:
                print("\nstopped; the same command goes on", file=sys.stderr)
                sys.exit(130)
            except UserError as error:
                wrong.append(error)
        _report(root, absent, started)
    if wrong:
        lines = "; ".join(map(str, wrong))
        done = all(isinstance(error, Diverged) for error in wrong)
        raise Diverged(lines) if done else UserError(lines)


def _check_flags() -> None:
    """Raises for flags of other programs that would be read by nobody."""
    told = [flag.name for flag in (METHOD, RESUME) if flag.present]
    if told:
        raise UserError(
            f"--{told[0]}: the suite has its own methods, and the same command with "
            "the same --out goes on with it; expected neither, or mtopt compare"
        )


def _end(each: Plan, place: pathlib.Path) -> None:
    """Writes the report of a set, whose table stays in its folder."""
    with contextlib.redirect_stdout(io.StringIO()):
        end(each, place, time.time())


def _report(root: pathlib.Path, absent: Mapping[str, str], started: float) -> None:
    """The table over all sets that the folder has, by this command or earlier ones."""
    names = [name for name in suite_sets.SUITE if (root / name / PAGE).exists()]
    if not names:
        reasons = "; ".join(f"{name}: {why}" for name, why in absent.items())
        raise UserError(f"{root} has no set that is finished ({reasons})")
    sets = {name: _set_result(root / name) for name in names}
    parts = {name: each.parts for name, each in sets.items()}
    found, beside = (over_sets(parts, each) for each in (TUNED_WEIGHTS, PLAIN))
    lines = [_protocol(sets)]
    lines += [
        f"Left out, {name}: {absent.get(name, 'not run in this folder yet')}."
        for name in suite_sets.SUITE
        if name not in names
    ]
    text = to_text(over_sets_sheet(found, sets, beside=beside, lines=lines))
    table = root / "table.txt"
    if (root / PAGE).exists() and table.read_text(encoding="utf-8") == text + "\n":
        print(f"\n{text}\n\nnothing was left to do: {root} had it all")
        return
    (root / PAGE).unlink(missing_ok=True)  # the last file to be written
    write_text(root / "suite.csv", to_csv(found) + "\n")
    pictures = {"gains.png": functools.partial(gains, found)}
    if enough([found.gains]):
        pictures["ranks.png"] = functools.partial(
            critical_differences, [found.gains], of="data sets"
        )
    of_sets = to_plain([found.gains])["groups"][0]
    write_report(root, text, {"over_sets": of_sets}, pictures, started)


def _set_result(place: pathlib.Path) -> SetResult:
    """What the folder of a set says of it."""
    trials = read_trials(place)
    seconds = [read_cpu_seconds(place / "units" / trial.unit) for trial in trials]
    failed = sum(bool(trial.notes) for trial in trials)
    return SetResult(read_comparisons(place), sum(seconds), len(trials), failed)


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


if __name__ == "__main__":
    start(main, parse_flags)
