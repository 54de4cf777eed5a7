"""The tables of a comparison, as its page has them."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ..comparison_sheet import comparison_sheet
from ..drawing import COLOURS, MAX_COLOURED, style_of
from ..paired import paired_sheet
from ..results import Comparison, name
from ..sheet import BEST, TIED, Block, Sheet, seeds_column
from ..standing import ranked
from ..trials import Trial, trial_sheet
from .parts import Cell, Mark, Row, Table

MOST_NUMBERS = 20_000
"""The most values of single seeds that a page shows."""
SIGNS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "<": "◀", ">": "▶"}
"""The markers of the pictures as letters."""

HOW = {BEST: "Bold", TIED: "Shaded"}
"""How the page shows the marks of a sheet."""
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]\d+)?")


def result_tables(parts: Sequence[Comparison]) -> tuple[Table, ...]:
    """The table that a run ends with: a block for each group of tasks.

    Args:
      parts: a comparison for each group; without any there is no table.
    """
    if not parts:
        return ()
    has_baseline = parts[0].baseline is not None
    return _tables(comparison_sheet(parts), _marks(parts), has_baseline)


def paired_tables(
    parts: Sequence[Comparison], references: Sequence[str]
) -> tuple[Table, ...]:
    """The differences to some methods, seed by seed.

    Args:
      parts: a comparison for each group.
      references: the names of these methods.
    """
    if not references:
        return ()
    sheets = [
        paired_sheet(part, reference)
        for reference in references
        for part in ranked(parts)
        if len(part.methods) > 1
    ]
    marks = _marks(parts)
    return tuple(each for sheet in sheets for each in _tables(sheet, marks))


def trial_tables(trials: Sequence[Trial]) -> tuple[Table, ...]:
    """All trials of a sweep, sorted by a click, and what went wrong with some.

    Args:
      trials: of all methods.
    """
    return _tables(trial_sheet(trials), {})


def seed_tables(parts: Sequence[Comparison]) -> tuple[Table, ...]:
    """Every metric of every task and seed, a table a group and metric, folded.

    Args:
      parts: a comparison for each group; one at least.
    """
    return tuple(
        _seed_table(part, number, metric)
        for part in ranked(parts)
        for number, metric in enumerate(part.metric_names)
    )


def _tables(
    sheet: Sheet, marks: Mapping[str, Mark], has_baseline: bool = False
) -> tuple[Table, ...]:
    """A table for each block, the first row apart where it is no method's.

    What the marks and columns mean stands below the last one.
    """
    found = []
    for block in sheet.blocks:
        rows = _rows(block, marks)
        apart = int(has_baseline)
        heads = ("method", *(column.head for column in block.columns))
        found.append(
            Table(block.title, heads, rows[apart:], rows[:apart], sortable=True)
        )
    meaning = [f"{HOW[mark]}: {words}" for mark, words in sheet.marks.items()]
    found[-1] = found[-1]._replace(notes=(*meaning, *sheet.legend))
    return tuple(found)


def _rows(block: Block, marks: Mapping[str, Mark]) -> tuple[Row, ...]:
    columns = [
        [Cell(str(cell), _number(cell.text), cell.mark) for cell in column.cells]
        for column in block.columns
    ]
    cells = zip(*columns, strict=True)
    return tuple(
        Row(row, of_row, marks.get(row))
        for row, of_row in zip(block.rows, cells, strict=True)
    )


def _number(text: str) -> float | None:
    """What a cell sorts by: the first number in it, such as 40 of ``40–60``."""
    found = NUMBER.match(text)
    return float(found[0]) if found else None


def _marks(parts: Sequence[Comparison]) -> dict[str, Mark]:
    """The colours and markers of the methods in the pictures, where all have one."""
    methods = ranked(parts)[0].methods
    if len(methods) > MAX_COLOURED:
        return {}
    found = {}
    for i, method in enumerate(methods):
        style = style_of(i)
        mark = Mark(COLOURS.index(style["color"]), SIGNS[style["marker"]])
        found[" ".join(method.name.split())] = mark
    return found


def _seed_table(part: Comparison, number: int, metric: str) -> Table:
    """One metric of one group."""
    seeds = [(each.name, seed) for each in part.results for seed in each.seeds]
    values = np.concatenate([each.metrics[..., number] for each in part.results])
    columns = [
        seeds_column(task, [*own[:, None]])
        for task, own in zip(part.task_names, values.T, strict=True)
    ]
    direction = "higher" if part.higher_is_better[number] else "lower"
    caption = f"{name(part)}: test {metric} ({direction} is better)"
    block = Block(caption, tuple(f"{n}, seed {s}" for n, s in seeds), [columns])
    heads = ("method and seed", *part.task_names)
    return Table(caption, heads, _rows(block, {}), sortable=True, folded=caption)
