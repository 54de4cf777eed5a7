"""A comparison of methods as the table that a run prints last."""

import textwrap
from collections.abc import Sequence

import numpy as np

from .comparison_sheet import comparison_sheet
from .results import Comparison
from .sheet import BEST, TIED, Column, Sheet, seeds_column

WIDTH = 100  # columns of the terminal
GLYPHS = {"": "", BEST: " ●", TIED: " ○"}


def table(*parts: Comparison) -> str:
    """The comparison as text, one row a method, for a terminal of 100 columns.

    Columns that do not fit side by side follow below, under their own head; what they
    are is said by :func:`experiments.common.comparison_sheet.comparison_sheet`.

    Args:
      *parts: the results, on each group of tasks.

    Returns:
      The table and a legend, without a trailing newline.

    Example:
      >>> import numpy as np
      >>> from experiments.common.results import MethodResult
      >>> single = MethodResult("single task", np.full((1, 2, 1), 0.8), {})
      >>> ours = MethodResult("ours", np.array([[[0.9], [0.82]]]), {})
      >>> results = Comparison(
      ...     "demo", ("left", "right"), ("accuracy",), (True,), single, [ours]
      ... )
      >>> print(table(results))  # doctest: +ELLIPSIS
      demo: test accuracy (higher is better), 1 seed
      <BLANKLINE>
                    left  right  mean of tasks  Δm% ↓  Δp% ↑  rank ↓
      --------------------------------------------------------------
      single task  0.800  0.800          0.800      –      –       –
      ours         0.900  0.820          0.860  -7.50  +7.50    1.00
      <BLANKLINE>
      Δm%: mean relative change ...
    """
    return to_text(comparison_sheet(parts))


def to_text(sheet: Sheet) -> str:
    """A sheet for a terminal of 100 columns, without a trailing newline."""
    lines = []
    for block in sheet.blocks:
        lines += [*textwrap.wrap(block.title, WIDTH, subsequent_indent="  "), ""]
        pieces = [[_texts(column) for column in piece] for piece in block.pieces]
        for columns in pages(["", *block.rows], pieces):
            lines += [*align(columns), ""]
    marks = [
        f"{GLYPHS[mark].strip()}: {meaning}" for mark, meaning in sheet.marks.items()
    ]
    lines += [
        line
        for entry in [*sheet.legend, *marks]
        for line in textwrap.wrap(entry, WIDTH, subsequent_indent="     ")
    ]
    return "\n".join(lines).rstrip()


def cells(column: Sequence[np.ndarray], decimals: int | None = None) -> list[str]:
    """Seeds of one metric as ``mean ± spread``, with the same decimals in all rows."""
    return _texts(seeds_column("", column, decimals))[1:]


def _texts(column: Column) -> list[str]:
    """The head and the cells, whose numbers end at one place whatever stands behind."""
    behind = [cell.note + GLYPHS[cell.mark] for cell in column.cells]
    width = max(map(len, behind), default=0)
    texts = [
        str(cell).removesuffix(cell.note) + signs.ljust(width)
        for cell, signs in zip(column.cells, behind, strict=True)
    ]
    return [column.head, *texts]


def pages(names: list[str], pieces: Sequence[list[list[str]]]) -> list[list[list[str]]]:
    """Columns side by side as far as they fit.

    Args:
      names: the first column of every page.
      pieces: columns that stay together.
    """
    found = [[names]]
    for columns in filter(None, pieces):
        if len(align(found[-1] + columns)[1]) > WIDTH and len(found[-1]) > 1:
            found.append([names])
        found[-1] += columns
    return found


def align(columns: list[list[str]]) -> list[str]:
    """Lines of text: names to the left, numbers to the right, a rule under the head."""
    widths = [max(map(len, column)) for column in columns]
    rows = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return [rows[0], "-" * (sum(widths) + 2 * len(widths) - 2), *rows[1:]]
