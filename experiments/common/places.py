"""What programs read, and where they write: flags that several of them have."""

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

DATA = flags.DEFINE_string(
    "data",
    None,
    "A file of rows (CSV, TSV, Parquet, .npz): the data of a new run, with --tasks; "
    "new rows for a finished one, of the same kind.",
)
METHOD = flags.DEFINE_multi_string(
    "method",
    None,
    'A method, as in mgda, "mgda(normalize=\'l2\')", "log_losses(cagrad)" or '
    '"normalize_rows + mgda": of a new run, in place of the experiment\'s own list; '
    "repeat it to compare several. all: every method that needs no options; losses, "
    "gramian, gradients, batches or preference: those that decide by these.",
)
RESUME = flags.DEFINE_string(
    "resume", None, "Continue the run in this folder, bit for bit where it stopped."
)
SEED = flags.DEFINE_integer(
    "seed",
    None,
    "Of a model of the run, the first unless given; of a program's own draws, 0.",
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
