"""Compares methods at an equal budget: each tuned by as many trials, tested once.

``python -m experiments.compare --experiments=NAME,NAME --method=NAME``, or ``mtopt
compare``. The same command, or ``--resume=FOLDER``, goes on where it was stopped.
"""

import os
import pathlib
import sys
import time

from absl import flags

from mtopt.data import fingerprint
from mtopt.errors import UserError

from ..common import short_flags
from ..common.command import command, one_line_errors, start
from ..common.compilation_cache import FLAG as CACHE
from ..common.config_arguments import START
from ..common.data_record import check_data, record_dataset
from ..common.places import METHOD, OUT, RESUME
from ..common.report import Diverged
from ..common.run_lock import held, new_folder
from ..common.stored_sweep import read_sweep, write_sweep
from .asked import root_folder, sweeps
from .ending import end
from .plan import Plan, plan
from .unit import Unit, is_finished
from .workers import run_units

flags.DEFINE_integer(
    "jobs",
    2,
    "Units that run at a time, each in a process and a thread of its own.",
    lower_bound=1,
)
flags.DEFINE_string(
    "cluster",
    None,
    "The address of a Dask scheduler, whose workers run the units: all see the same "
    "folder (extra: cluster).",
)
for _flag in (OUT, METHOD, RESUME, *short_flags.SHORT):
    flags.declare_key_flag(_flag.name)
for _name in ("data_dir", CACHE, "experiments", "trials", "by"):
    flags.declare_key_flag(_name)
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Checks everything, runs what is not finished, and ends with the tables."""
    del argv
    started = time.time()
    # Of a GPU, a process takes what it needs: several of them share it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    root = root_folder()
    asked = sweeps(root)
    plans = {place: plan(sweep) for place, sweep in asked.items()}
    if OUT.value is None and RESUME.value is None:
        new = new_folder(root)
        plans = {new / place.relative_to(root): each for place, each in plans.items()}
        root = new
    with held(root):
        units = {}
        for place, each in plans.items():
            units |= _begun(place.absolute(), each)
        try:
            run_units(units, FLAGS.jobs, FLAGS.cluster, FLAGS[CACHE].value)
        except KeyboardInterrupt:
            print(f"\nstopped; continue with --resume={root}", file=sys.stderr)
            sys.exit(130)
        _end(plans, started)


def _begun(place: pathlib.Path, each: Plan) -> dict[pathlib.Path, Unit]:
    """Writes what a sweep is, where that is not there; its units by their folders."""
    units = each.folders(place)
    waiting = sum(not is_finished(folder) for folder in units)
    if waiting or read_sweep(place) != each.sweep:
        record_dataset(place, each.dataset)
        write_sweep(place, each.sweep)
    else:
        check_data(place, fingerprint(each.dataset))
    name = each.sweep.run.experiment
    print(f"{name}: {len(units)} units, {waiting} to run, in {place}", flush=True)
    return units


def _end(plans: dict[pathlib.Path, Plan], started: float) -> None:
    """The table of every sweep; what went wrong with some is said after the last."""
    wrong = []
    for place, each in plans.items():
        try:
            end(each, place, started)
        except UserError as error:
            wrong.append(error)
    if wrong:
        lines = "; ".join(map(str, wrong))
        done = all(isinstance(error, Diverged) for error in wrong)
        raise Diverged(lines) if done else UserError(lines)


@one_line_errors
def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; fields of configurations are for each experiment to read."""
    return FLAGS([word for word in argv if not word.startswith(START)])


if __name__ == "__main__":
    start(main, parse_flags)
