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
from collections.abc import Callable

from absl import flags

from mtopt.errors import UserError
from mtopt.training.writer import write_json

from .common.command import command, data_dir, parse_flags, start
from .common.compilation_cache import FLAG as CACHE
from .common.compilation_cache import keep_compiled_programs
from .common.experiment import Job, find_experiment
from .common.page.folder import NAME as PAGE
from .common.places import METHOD, OUT, RESUME
from .common.report import raise_all
from .common.run_lock import held
from .common.stored_run import CONFIG, StoredRun, read_run, write_run
from .common.stored_sweep import StoredSweep
from .compare import suite_sets
from .compare.ending import end
from .compare.plan import plan
from .compare.suite_report import TOOK, report
from .compare.suite_sets import named_sets, run_of, sweep_of
from .compare.together import CLUSTER, JOBS, added, train

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
            wanted = _wanted(name, place, folder)
            try:
                job = _prepared(wanted, place)
            except UserError as error:
                absent[name] = str(error)
                print(f"{name}: left out: {error}", flush=True)
                continue
            try:
                job()
            except KeyboardInterrupt:
                print("\nstopped; the same command goes on", file=sys.stderr)
                sys.exit(130)
            except UserError as error:
                wrong.append(error)
        report(root, absent, started)
    raise_all(wrong)


def _check_flags() -> None:
    """Raises for flags of other programs that would be read by nobody."""
    told = [flag.name for flag in (METHOD, RESUME) if flag.present]
    if told:
        raise UserError(
            f"--{told[0]}: the suite has its own methods, and the same command with "
            "the same --out goes on with it; expected neither, or mtopt compare"
        )


def _wanted(
    name: str, place: pathlib.Path, folder: pathlib.Path | None
) -> StoredSweep | StoredRun:
    """What a set is, a project or a sweep; raises where its folder has it otherwise."""
    if not suite_sets.SUITE[name].is_project:
        return added(sweep_of(name, folder), place)
    new = run_of(name, folder)
    if (place / CONFIG).exists():
        old = read_run(place)
        if (old.experiment, old.config) != (new.experiment, new.config):
            raise UserError(
                f"{place} has a run of {old.experiment} with other settings: expected "
                "those, or another --out"
            )
    return new


def _prepared(
    wanted: StoredSweep | StoredRun, place: pathlib.Path
) -> Callable[[], None]:
    """What trains a set, checked, and leaves its report in its folder.

    Raises:
      UserError: where it can't be run, as without its files.
    """
    if isinstance(wanted, StoredRun):
        job = find_experiment(wanted.experiment).prepare(
            wanted.config, wanted.experiment, wanted.data_dir
        )
        return functools.partial(_run_project, job, wanted, place)
    each = plan(wanted)

    def sweep() -> None:
        train({place: each})
        with contextlib.redirect_stdout(io.StringIO()):  # the table stays in its folder
            end(each, place, time.time())

    return sweep


def _run_project(job: Job, run: StoredRun, place: pathlib.Path) -> None:
    """As ``mtopt run`` does, once."""
    if (place / PAGE).exists():
        return
    before = time.process_time()
    write_run(place, run)
    keep_compiled_programs()
    print(f"{run.experiment}: writing to {place}", flush=True)
    with (place / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        job(place)
    write_json(place / TOOK, {"cpu_seconds": time.process_time() - before})


if __name__ == "__main__":
    start(main, parse_flags)
