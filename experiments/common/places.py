"""Where programs read and write: flags that several of them have."""

import pathlib

from absl import flags

from mtopt.errors import UserError

RUN = flags.DEFINE_multi_string("run", None, "The folder of a finished run.")
OUT = flags.DEFINE_string(
    "out",
    None,
    "Where to write: a new run to this folder, runs/EXPERIMENT-DATE-TIME unless given; "
    "a table to this file.",
)


def finished_runs() -> list[pathlib.Path]:
    """The folders that ``--run`` names.

    Raises:
      UserError: for none.
    """
    if not RUN.value:
        raise UserError(
            "no --run: expected --run=FOLDER, the folder of a finished run, whose "
            "experiment and methods are stored in it"
        )
    return list(map(pathlib.Path, RUN.value))


def finished_run() -> pathlib.Path:
    """The folder that ``--run`` names.

    Raises:
      UserError: for none, or several.
    """
    first, *others = finished_runs()
    if others:
        raise UserError(f"--run names {1 + len(others)} folders: expected one")
    return first
