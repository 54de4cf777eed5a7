"""Which sweeps a command asks for, and where they are."""

import dataclasses
import datetime
import pathlib
import sys

from absl import flags

from mtopt.errors import UserError

from ..common import short_flags
from ..common.command import data_dir
from ..common.config_arguments import START, set_arguments
from ..common.experiment import find_experiment
from ..common.method_names import named_methods
from ..common.paired import TUNED_WEIGHTS
from ..common.places import DATA, METHOD, OUT, RESUME
from ..common.run_lock import HOLDER, LOCK
from ..common.stored_run import StoredRun
from ..common.stored_sweep import FILE, StoredSweep, is_sweep, read_sweep
from .together import added

EXPERIMENTS = flags.DEFINE_list(
    "experiments",
    None,
    "What to compare on, separated by commas: multi_digits unless given, or table with "
    "--data.",
)
TRIALS = flags.DEFINE_integer(
    "trials", 5, "Settings that are tried of every method.", lower_bound=1
)
BY = flags.DEFINE_string(
    "by",
    "",
    "What trials are chosen by on validation data: a task, or a metric. Unless given, "
    "what models are chosen by (--config.choose_by).",
)

Sweeps = dict[pathlib.Path, StoredSweep]
"""Folder to what is compared there."""


def root_folder() -> pathlib.Path:
    """Where all sweeps of the command go."""
    if RESUME.value is not None:
        return pathlib.Path(RESUME.value)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path(OUT.value or f"runs/compare-{now}")


def sweeps(root: pathlib.Path) -> Sweeps:
    """The sweeps that the command asks for.

    One is in the folder itself, several are in folders below it. What a folder has
    already stays part of its sweep: methods and trials are added to it.

    Args:
      root: the folder of all.

    Raises:
      UserError: for flags that contradict each other or the folder.
    """
    if RESUME.value is not None:
        return _resumed(root)
    names = EXPERIMENTS.value or ["multi_digits" if DATA.value is None else "table"]
    if len({*names}) < len(names):
        raise UserError(f"--experiments={','.join(names)}: expected no name twice")
    below = len(names) > 1 or any(root.glob(f"*/{FILE}"))
    if below and is_sweep(root):
        raise UserError(
            f"{root} is one sweep: expected one experiment, or another --out"
        )
    places = {name: root / name if below else root for name in names}
    if not below and not is_sweep(root):
        _check_new(root)
    return {place: _wanted(name, place) for name, place in places.items()}


def _wanted(name: str, place: pathlib.Path) -> StoredSweep:
    """What the flags say, together with what the folder has already."""
    fields = [word for word in sys.argv[1:] if word.startswith(START)]
    config = set_arguments(find_experiment(name).get_config(), fields)
    short_flags.set_fields(config, name)
    methods = config.methods if METHOD.value is None else named_methods(METHOD.value)
    config = dataclasses.replace(
        config, methods=tuple(dict.fromkeys([TUNED_WEIGHTS, *methods]))
    )
    if hasattr(config, "paired"):
        config.paired = 1
    asked = StoredSweep(StoredRun(name, config, data_dir()), TRIALS.value, BY.value)
    return added(asked, place)


def _resumed(root: pathlib.Path) -> Sweeps:
    """What a folder has, and nothing else."""
    told = [
        flag.name
        for flag in (EXPERIMENTS, TRIALS, BY, METHOD, OUT)
        if flags.FLAGS[flag.name].present
    ]
    told += short_flags.given()
    told += [word for word in sys.argv[1:] if word.startswith(START)]
    if told:
        raise UserError(
            f"--resume takes everything from the folder: drop {', '.join(told)}"
        )
    places = (
        [root] if is_sweep(root) else sorted(p.parent for p in root.glob(f"*/{FILE}"))
    )
    if not places:
        raise UserError(f"no sweep in {root}: expected a folder of mtopt compare")
    return {place: read_sweep(place) for place in places}


def _check_new(root: pathlib.Path) -> None:
    """Raises where the folder of new sweeps holds anything but a lock."""
    if not root.exists():
        return
    if not root.is_dir() or {path.name for path in root.iterdir()} - {LOCK, HOLDER}:
        raise UserError(f"{root} is no folder of a sweep: name another --out")
