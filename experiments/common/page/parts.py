"""What a page is made of: sections with tables, pictures, commands and text."""

from typing import NamedTuple


class Mark(NamedTuple):
    """The colour and marker of a method, as pictures have them.

    Attributes:
      colour: its number in the palette of the pictures.
      sign: a letter in the form of the marker.
    """

    colour: int
    sign: str


class Cell(NamedTuple):
    """A number in a table.

    Attributes:
      text: as it is shown.
      value: what it sorts by; None for what has no number.
      emphasis: ``best``, ``tied`` with the best, or nothing.
    """

    text: str
    value: float | None = None
    emphasis: str = ""


class Row(NamedTuple):
    """A line of a table, such as a method."""

    name: str
    cells: tuple[Cell, ...]
    mark: Mark | None = None


class Table(NamedTuple):
    """A table under its caption.

    Attributes:
      caption: what it shows.
      heads: of all columns, that of the names first.
      rows: one below the other.
      reference: rows that stay above them, such as single-task models.
      notes: what the columns mean, below.
      sortable: whether a click on a head sorts the rows.
      folded: the line to open it by; empty where it is open.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    sortable: bool = False
    folded: str = ""


class Picture(NamedTuple):
    """A picture within the page.

    Attributes:
      name: of its file.
      title: in place of the picture where it is not seen.
      shows: its caption, what is to be seen on it.
      source: the picture itself, as a URL.
      width: in pixels.
      height: likewise.
    """

    name: str
    title: str
    shows: str
    source: str
    width: int
    height: int


class Pair(NamedTuple):
    """A name with its value; ``changed`` where that is not the default."""

    name: str
    value: str
    changed: bool = False


class Command(NamedTuple):
    """A command to type, and what it is for."""

    what: str
    text: str


class Section(NamedTuple):
    """A part of the page under a title: what it has of each, in this order.

    The pairs of ``more`` are folded.
    """

    anchor: str
    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    commands: tuple[Command, ...] = ()
    text: str = ""
    pairs: tuple[Pair, ...] = ()
    more: tuple[Pair, ...] = ()

    @property
    def filled(self) -> bool:
        """Whether there is anything in it."""
        return any(self[2:])


class Page(NamedTuple):
    """All of it.

    Attributes:
      title: the experiment.
      about: what that is, in a line.
      started: when the run did.
      summary: what came out, a few sentences.
      alerts: what went wrong or is to be watched, a line each.
      sections: the rest.
    """

    title: str
    about: str
    started: str
    summary: tuple[str, ...]
    alerts: tuple[str, ...]
    sections: tuple[Section, ...]
