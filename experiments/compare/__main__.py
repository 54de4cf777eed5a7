"""Compares methods at an equal budget: each tuned by as many trials, tested once.

``python -m experiments.compare --experiments=NAME,NAME --method=NAME``, or ``mtopt
compare``. The same command, or ``--resume=FOLDER``, goes on where it was stopped.
"""

import pathlib
import sys
import time

from absl import flags

from mtopt.errors import UserError

from ..common import short_flags
from ..common.command import command, one_line_errors, start
from ..common.compilation_cache import FLAG as CACHE
from ..common.config_arguments import START
from ..common.places import METHOD, OUT, RESUME
from ..common.report import raise_all
from ..common.run_lock import held, new_folder
from .asked import root_folder, sweeps
from .ending import end
from .plan import Plan, plan
from .together import CLUSTER, JOBS, train

for _flag in (OUT, METHOD, RESUME, JOBS, CLUSTER, *short_flags.SHORT):
    flags.declare_key_flag(_flag.name)
for _name in ("data_dir", CACHE, "experiments", "trials", "by"):
    flags.declare_key_flag(_name)
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Checks everything, runs what is not finished, and ends with the tables."""
    del argv
    started = time.time()
    root = root_folder()
    asked = sweeps(root)
    plans = {place: plan(sweep) for place, sweep in asked.items()}
    if OUT.value is None and RESUME.value is None:
        new = new_folder(root)
        plans = {new / place.relative_to(root): each for place, each in plans.items()}
        root = new
    with held(root):
        try:
            train(plans)
        except KeyboardInterrupt:
            print(f"\nstopped; continue with --resume={root}", file=sys.stderr)
            sys.exit(130)
        _end(plans, started)


def _end(plans: dict[pathlib.Path, Plan], started: float) -> None:
    """The table of every sweep; what went wrong with some is said after the last."""
    wrong = []
    for place, each in plans.items():
        try:
            end(each, place, started)
        except UserError as error:
            wrong.append(error)
    raise_all(wrong)


@one_line_errors
def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; fields of configurations are for each experiment to read."""
    return FLAGS([word for word in argv if not word.startswith(START)])


if __name__ == "__main__":
    start(main, parse_flags)
