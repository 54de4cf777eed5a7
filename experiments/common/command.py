"""What every program does around its own work: flags, errors, a data folder."""

import functools
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from mtopt.errors import UserError

from .allocator import keep_freed_memory
from .report import Diverged

flags.DEFINE_string(
    "data_dir",
    os.environ.get("MTOPT_DATA_DIR"),
    "Your folder of data sets; default: the variable MTOPT_DATA_DIR.",
)

Main = Callable[[list[str]], None]
ParseFlags = Callable[[list[str]], list[str]]


def command(main: Callable[[list[str]], Any]) -> Main:
    """Makes ``main(argv)`` a command: flags alone, errors of the user in one line.

    A :class:`mtopt.UserError` is printed without a traceback and ends with exit code
    2, and with 3 where all is done and some models diverged. Informational logs of the
    libraries underneath are left out.
    """

    @functools.wraps(main)
    def wrapped(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        try:
            if len(argv) > 1:
                raise UserError(f"cannot read {argv[1]!r}: flags start with --")
            main(argv)
        except UserError as error:
            _fail(error)

    return wrapped


def one_line_errors(parse: ParseFlags) -> ParseFlags:
    """Makes a parser of flags say what is wrong in one line, with exit code 2."""

    @functools.wraps(parse)
    def wrapped(argv: list[str]) -> list[str]:
        try:
            return parse(argv)
        except (UserError, flags.Error) as error:
            return _fail(error)

    return wrapped


@one_line_errors
def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags that are defined."""
    return flags.FLAGS(argv)


def start(main: Main, parse: ParseFlags = parse_flags) -> None:
    """Runs a program, as its module's last line does, in a process of its own."""
    keep_freed_memory()
    app.run(main, flags_parser=parse)


def data_dir() -> pathlib.Path | None:
    """The folder that ``--data_dir`` or the variable names.

    Raises:
      UserError: where there is no such folder.
    """
    if not flags.FLAGS.data_dir:
        return None
    folder = pathlib.Path(flags.FLAGS.data_dir).absolute()
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: check --data_dir or MTOPT_DATA_DIR")
    return folder


def _fail(error: Exception) -> Any:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(3 if isinstance(error, Diverged) else 2)
