"""What the folder of a sweep says of it: experiment, methods, budget."""

import json
import pathlib
from typing import NamedTuple

from mtopt.errors import UserError
from mtopt.training.writer import write_json

from .provenance import provenance
from .stored_run import VERSIONS, StoredRun, from_plain, read_run, to_plain

FILE = "sweep.json"


class StoredSweep(NamedTuple):
    """What was compared.

    Attributes:
      run: the experiment with all methods, at the values that trials replace.
      trials: of each method.
      by: the task or the metric that trials are chosen by; empty for the score by which
        models are chosen.
    """

    run: StoredRun
    trials: int
    by: str = ""


def write_sweep(folder: pathlib.Path, sweep: StoredSweep) -> None:
    """Makes the folder with ``sweep.json`` and ``versions.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {**to_plain(sweep.run), "trials": sweep.trials, "by": sweep.by}
    write_json(folder / FILE, stored)
    write_json(folder / VERSIONS, provenance())


def is_sweep(folder: pathlib.Path) -> bool:
    """Whether a folder is one of a sweep."""
    return (folder / FILE).exists()


def read_run_or_sweep(folder: pathlib.Path) -> StoredRun:
    """What the folder is a run or a sweep of; errors as of both."""
    return read_sweep(folder).run if is_sweep(folder) else read_run(folder)


def read_sweep(folder: pathlib.Path) -> StoredSweep:
    """What the folder is a sweep of.

    Raises:
      UserError: for a folder that is none, or one of another version.
    """
    try:
        stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return StoredSweep(from_plain(stored), int(stored["trials"]), stored["by"])
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"no sweep in {folder}: {type(error).__name__} on {FILE}; expected the "
            "folder that mtopt compare wrote to"
        ) from error
