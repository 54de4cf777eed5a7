"""The report a run ends with: its table, its results, its pictures, its page."""

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtopt.errors import UserError
from mtopt.training.processes import is_first
from mtopt.training.writer import write_json, write_text


class Diverged(UserError):
    """Some of the models diverged: the report is whole, and the exit status 3."""


def raise_all(wrong: Sequence[UserError]) -> None:
    """Raises what went wrong with some of several reports, if anything did, as one.

    Args:
      wrong: what was raised, report by report.

    Raises:
      Diverged: where all of them say so, so that every report is whole.
      UserError: for anything else.
    """
    if not wrong:
        return
    lines = "; ".join(map(str, wrong))
    done = all(isinstance(error, Diverged) for error in wrong)
    raise Diverged(lines) if done else UserError(lines)


def write_report(
    folder: pathlib.Path,
    table: str,
    results: dict[str, Any],
    pictures: Mapping[str, Callable[[pathlib.Path], None]],
    started: float,
) -> None:
    """Writes and prints the table, draws pictures and page, and says where they are.

    Args:
      folder: of the run.
      table: the text, without a final newline.
      results: what ``results.json`` holds.
      pictures: file name to what draws it there, in the order of the report.
      started: when the run did, in seconds of ``time.time``.
    """
    # Programs that write no report need not load what draws and writes one.
    from .page.folder import NAME, write_page

    write_text(folder / "table.txt", table + "\n")
    write_json(folder / "results.json", results)
    if is_first():
        for name, draw in pictures.items():
            draw(folder / name)
    print(f"\n{table}\n")
    if is_first():
        write_page(folder)
    print(f"finished in {time.time() - started:.0f} s")
    for name in pictures:
        print(f"picture  {folder / name}")
    print(f"page     {folder / NAME}")
    print(f"folder   {folder}")
