"""One run writes to a folder at a time."""

import contextlib
import datetime
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from filelock import FileLock, Timeout

from mtopt.errors import UserError
from mtopt.training.processes import is_first
from mtopt.training.writer import write_json

LOCK = "run.lock"
HOLDER = "running.json"


@contextlib.contextmanager
def held(folder: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the folder of a run, which is made, while the run writes to it.

    The system lets go of it when the process ends, however that happens. Of a run in
    several processes the first one holds it.

    Args:
      folder: of the run.
      wait: until another process lets go of it.

    Raises:
      UserError: where another process holds it, naming that, or it can't be made.
    """
    _make(folder)
    if not is_first():
        yield
        return
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        raise UserError(
            f"{folder} is written by another run{_holder(folder)}: wait until that "
            "ends, or name another --out"
        ) from None
    try:
        write_json(
            folder / HOLDER,
            {
                "process": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.datetime.now().isoformat(timespec="seconds"),
            },
        )
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def new_folder(wanted: pathlib.Path) -> pathlib.Path:
    """Makes a folder that was not there: the one wanted, or with a number behind it.

    Of any number of runs that want it at once each gets its own.

    Raises:
      UserError: where the folder around it can't be made.
    """
    _make(wanted.parent)
    number, folder = 1, wanted
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")
        else:
            return folder


def _make(folder: pathlib.Path) -> None:
    """Makes a folder, and those around it, where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}): name another --out"
        ) from error


def _holder(folder: pathlib.Path) -> str:
    """Who holds it, where that can be read."""
    try:
        found = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f" (process {found['process']} on {found['host']}, {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def check_new(folder: pathlib.Path) -> None:
    """Raises where the folder of a new run holds anything but its lock.

    Args:
      folder: of the run.

    Raises:
      UserError: where it does.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or {p.name for p in folder.iterdir()} - {LOCK, HOLDER}:
        raise UserError(
            f"{folder} exists already: name another --out, or continue that run with "
            f"--resume={folder}"
        )
