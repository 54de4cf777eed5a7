"""What every command does around its own work."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from absl import logging

from mtopt.errors import UserError


def command(main: Callable[[list[str]], Any]) -> Callable[[list[str]], None]:
    """Makes ``main(argv)`` a command: flags alone, errors of the user in one line.

    A :class:`mtopt.UserError` is printed without a traceback and ends with exit code
    2. Informational logs of the libraries underneath are left out.
    """

    @functools.wraps(main)
    def wrapped(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        try:
            if len(argv) > 1:
                raise UserError(f"cannot read {argv[1]!r}: flags start with --")
            main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    return wrapped
