"""Units run by joblib: in processes of this machine, or on a Dask cluster."""

import contextlib
import functools
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import joblib

from mtopt.errors import UserError

from ..common.run_lock import HOLDER
from .unit import Unit, is_finished, run_unit, write_failed

Units = Mapping[pathlib.Path, Unit]
"""Folder to what is trained there."""

Run = Callable[[Unit, pathlib.Path], Unit]
"""Runs one."""


def run_units(units: Units, jobs: int, cluster: str | None, cache: str | None) -> None:
    """Runs all units that are not finished, and prints a line for each.

    Where this process is stopped, so are the workers, in the midst of their units.

    A worker that is killed, as by a system out of memory, takes the units with it that
    run beside its own. Those are run again, one at a time; one whose worker ends then,
    too, has failed, and the others go on.

    Args:
      units: of all sweeps.
      jobs: so many at a time, in a process each.
      cluster: the address of a Dask scheduler, whose workers take the place of them.
      cache: as of :func:`experiments.compare.unit.run_unit`.

    Raises:
      UserError: where the cluster can't be reached, or has no part of Dask here.
    """
    this = f"{os.getpid()} {time.time_ns()}"
    run = functools.partial(_one, command=this, cache=cache)
    with _backend(cluster):
        at_once = None if cluster else jobs
        while waiting := _unfinished(units):
            try:
                _run(run, waiting, at_once, len(units))
            except (UserError, KeyboardInterrupt):
                raise
            except Exception as error:
                suspects = [folder for folder in waiting if _was_cut_off(folder)]
                if not suspects:
                    raise
                _one_by_one(run, units, suspects, error)


def _one_by_one(
    run: Run, units: Units, suspects: Sequence[pathlib.Path], cause: Exception
) -> None:
    print(
        f"a worker has ended ({type(cause).__name__}): its units again, one at a time",
        flush=True,
    )
    for folder in suspects:
        try:
            _run(run, {folder: units[folder]}, 1, len(units))
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:
            why = f"its process has ended ({type(error).__name__}); out of memory?"
            write_failed(units[folder], folder, why)


def _run(run: Run, units: Units, at_once: int | None, number: int) -> None:
    """Runs units, so many at once; None: as many as the cluster has workers."""
    # One job would run in this process: it is never one, whatever is given out at once.
    options: Any = {"n_jobs": -1}
    if at_once is not None:
        options = {"n_jobs": max(2, at_once), "pre_dispatch": at_once}
    options |= {"batch_size": 1, "return_as": "generator_unordered"}
    done: Any = joblib.Parallel(**options)(
        joblib.delayed(run)(unit, folder) for folder, unit in units.items()
    )
    before = number - len(units) + 1
    with contextlib.closing(done), warnings.catch_warnings():
        # A worker that has grown is replaced by a new one, which builds its programs.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        for count, unit in enumerate(done, before):
            print(f"{count} of {number}: {unit.method}, trial {unit.trial}", flush=True)


def _one(unit: Unit, folder: pathlib.Path, command: str, cache: str | None) -> Unit:
    run_unit(unit, folder, command, cache)
    return unit


def _unfinished(units: Units) -> Units:
    return {folder: unit for folder, unit in units.items() if not is_finished(folder)}


def _was_cut_off(folder: pathlib.Path) -> bool:
    """Whether a process that began the unit has ended without a word."""
    return (folder / HOLDER).exists() and not is_finished(folder)


@contextlib.contextmanager
def _backend(cluster: str | None) -> Iterator[None]:
    """What joblib gives the units to."""
    if cluster is None:
        with joblib.parallel_config(backend="loky"):
            yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            '--cluster needs Dask: expected pip install "mtopt[cluster]"'
        ) from error
    try:
        client = Client(cluster, timeout="10s")
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler at {cluster} ({error}): expected its address, as in "
            "tcp://HOST:8786"
        ) from error
    with client, joblib.parallel_config(backend="dask"):
        yield
