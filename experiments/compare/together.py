"""Several sweeps: their folders begun, their units run, and the flags for that."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from absl import flags

from mtopt.data import fingerprint
from mtopt.errors import UserError

from ..common.compilation_cache import FLAG as CACHE
from ..common.data_record import check_data, record_dataset
from ..common.stored_sweep import StoredSweep, is_sweep, read_sweep, write_sweep
from .plan import Plan
from .unit import is_finished
from .workers import Units, run_units

JOBS = flags.DEFINE_integer(
    "jobs",
    2,
    "Units that run at a time, each in a process and a thread of its own.",
    lower_bound=1,
)
CLUSTER = flags.DEFINE_string(
    "cluster",
    None,
    "The address of a Dask scheduler, whose workers run the units: all see the same "
    "folder (extra: cluster).",
)


def added(asked: StoredSweep, place: pathlib.Path) -> StoredSweep:
    """What is asked for, beside what a folder has already.

    Args:
      asked: a sweep.
      place: its folder, which need not be there.

    Raises:
      UserError: where the folder has a sweep with other settings.
    """
    if not is_sweep(place):
        return asked
    old = read_sweep(place)
    both = dict.fromkeys([*old.run.config.methods, *asked.run.config.methods])
    methods = tuple(both)
    before, after = (
        (each.run.experiment, dataclasses.replace(each.run.config, methods=methods))
        for each in (old, asked)
    )
    if before != after:
        raise UserError(
            f"{place} has a sweep of {before[0]} with other settings: expected those, "
            "beside more methods or trials, or another --out"
        )
    return StoredSweep(
        asked.run._replace(config=after[1]), max(old.trials, asked.trials), asked.by
    )


def train(plans: Mapping[pathlib.Path, Plan]) -> None:
    """Runs all units of sweeps that are not finished.

    Args:
      plans: of every sweep, by its folder.

    Raises:
      UserError: where a folder has a sweep on other data, or there is no cluster.
    """
    # Of a GPU, a process takes what it needs: several of them share it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    units = {}
    for place, each in plans.items():
        units |= _begun(place.absolute(), each)
    run_units(units, JOBS.value, CLUSTER.value, flags.FLAGS[CACHE].value)


def _begun(place: pathlib.Path, each: Plan) -> Units:
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
