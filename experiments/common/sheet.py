"""A table before it has a form: marked cells, which a writer for each form takes."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mtopt import metrics

UNDEFINED = "–"
BEST = "best"
TIED = "tied"


@dataclasses.dataclass(frozen=True)
class Cell:
    """What stands in one place.

    Attributes:
      text: the number, or what is in its place.
      spread: what stands behind ±; empty where there is no spread.
      note: signs that the legend explains, as the star of a lost seed.
      mark: :data:`BEST` or :data:`TIED` of its column, or nothing.
    """

    text: str
    spread: str = ""
    note: str = ""
    mark: str = ""

    def __str__(self) -> str:
        """Without its mark.

        Example:
          >>> str(Cell("0.93", "0.01", "*"))
          '0.93 ± 0.01*'
        """
        return self.text + (f" ± {self.spread}" if self.spread else "") + self.note


@dataclasses.dataclass(frozen=True)
class Column:
    """One number of all rows.

    Attributes:
      head: above it.
      cells: one a row.
    """

    head: str
    cells: list[Cell]

    def marked(self, marks: Sequence[str]) -> "Column":
        """The same with the marks of its rows."""
        cells = zip(self.cells, marks, strict=True)
        found = [dataclasses.replace(cell, mark=mark) for cell, mark in cells]
        return Column(self.head, found)


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows and columns under one title.

    Attributes:
      title: above it.
      rows: the names of the rows.
      pieces: the columns; those of one piece belong side by side.
    """

    title: str
    rows: tuple[str, ...]
    pieces: list[list[Column]]

    @property
    def columns(self) -> list[Column]:
        """Those of all pieces."""
        return [column for piece in self.pieces for column in piece]


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
      blocks: from top to bottom.
      legend: what it means, an entry a sentence or two.
      marks: what each mark means.
    """

    blocks: list[Block]
    legend: list[str]
    marks: dict[str, str]


def seeds_column(
    head: str, rows: Sequence[np.ndarray], decimals: int | None = None
) -> Column:
    """A column of means and spreads over seeds, with the same decimals in all rows.

    A seed that is nan is left out, and a star says so.

    Args:
      head: above it.
      rows: one number a seed, ``[S]``.
      decimals: as many as are sensible unless given.

    Example:
      >>> [str(cell) for cell in seeds_column("", [np.array([0.5, 0.6])]).cells]
      ['0.550 ± 0.071']
    """
    pairs = [metrics.mean_and_spread(seeds, axis=0) for seeds in rows]
    if decimals is None:
        decimals = sensible_decimals([float(mean) for mean, _ in pairs])
    cells = []
    for seeds, (mean, spread) in zip(rows, pairs, strict=True):
        text = number(float(mean), decimals)
        several = len(seeds) > 1 and text != UNDEFINED
        behind = number(float(spread), decimals) if several else ""
        cells.append(Cell(text, behind, "*" * lost_some(seeds)))
    return Column(head, cells)


def lost_some(seeds: np.ndarray) -> bool:
    """Whether some seeds, but not all, are undefined."""
    return bool(np.isnan(seeds).any() and not np.isnan(seeds).all())


def sensible_decimals(values: Sequence[float]) -> int:
    """Enough decimals for four digits of a typical value, three below 1 (0.934)."""
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not sizes:
        return 3
    exponent = math.floor(math.log10(float(np.median(sizes))))
    return min(max(3 - exponent if exponent >= 0 else 2 - exponent, 0), 6)


def number(value: float, decimals: int, sign: str = "") -> str:
    """A fixed-point number; exponents from a million on, a dash for nan.

    Args:
      value: the number.
      decimals: behind the point.
      sign: ``+`` where a sign stands before positive numbers, too.
    """
    if math.isnan(value):
        return UNDEFINED
    if abs(value) >= 1e6:
        return f"{value:{sign}.1e}"
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"  # + 0.0: no -0.00
