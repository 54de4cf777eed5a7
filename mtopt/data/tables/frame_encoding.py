"""Rows of a data frame as inputs of a model, by what its training rows were."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, Int

from mtopt.data.tables.frame_columns import (
    Categories,
    Look,
    categories,
    checked_frame,
    dates_or_text,
    expect_column,
    expect_full,
    look_of,
    number_in,
    numbers,
    pandas,
)
from mtopt.data.tables.scaling import Scaling
from mtopt.errors import UserError

ROWS = "the new rows"
"""What new rows are called in messages."""
BOOLEANS = frozenset({"True", "False"})
"""The names that booleans have as categories."""


@dataclasses.dataclass(frozen=True)
class FrameEncoding:
    """Columns side by side: numbers and dates standardised, then categories one-hot.

    An empty cell of a number becomes the mean. One of a category, and a category that
    no training row has, is zero in all of its columns; a warning names the latter.

    Args:
      looks: column to what its cells are, in the order of the training frame.
      mean: of each column of numbers or dates, in the training rows.
      std: likewise its standard deviation, 0 for a constant one.
      categories: column to the categories that training rows have, sorted.
      task: the column that says which task a row belongs to; None for shared inputs.
      owners: the values of that column, as names of tasks.
      targets: the columns of labels, of which each makes a task of every owner.

    Example:
      >>> import pandas as pd
      >>> encode = FrameEncoding(
      ...     {"x": "numbers", "of": "categories"}, {"x": 1.0}, {"x": 2.0},
      ...     {"of": ("a", "b")})
      >>> encode(pd.DataFrame({"of": ["b", None], "x": [5.0, None]})).tolist()
      [[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    looks: Mapping[str, Look]
    mean: Mapping[str, float]
    std: Mapping[str, float]
    categories: Mapping[str, tuple[str, ...]]
    task: str | None = None
    owners: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __call__(self, raw: Any) -> Float[np.ndarray, "N D"]:
        """The inputs of new rows, float32.

        Args:
          raw: a ``pandas.DataFrame`` with the columns of inputs; others are not read.

        Raises:
          UserError: for what is no frame, a missing column, or one whose cells are
            something else than in training.
        """
        frame = checked_frame(raw, ROWS)
        for name in self.looks:
            expect_column(frame, name, "the model", ROWS)
        values, found = {}, {}
        for name, look in self.looks.items():
            column = _as(frame[name], look, self.categories.get(name, ()))
            if look == "categories":
                found[name] = categories(column)
            else:
                values[name] = numbers(column, look)
        for name, column in found.items():
            self._warn(name, column)
        return self.encoded(values, found)

    def encoded(
        self,
        values: Mapping[str, Float[np.ndarray, " N"]],
        found: Mapping[str, Categories],
    ) -> Float[np.ndarray, "N D"]:
        """The inputs of columns that have been read; see ``FrameInputs``.

        Args:
          values: of each column of numbers or dates; NaN where a cell is empty.
          found: of each column of categories.
        """
        blocks = []
        if values:
            moments = [
                np.array([of[name] for name in values]) for of in (self.mean, self.std)
            ]
            blocks.append(Scaling(*moments)(np.stack([*values.values()], axis=1)))
        for name, column in found.items():
            places = np.arange(len(self.categories[name]))
            hot = self._places(name, column)[:, None] == places
            blocks.append(hot.astype(np.float32))
        return np.concatenate(blocks, axis=1)

    def tasks_of(self, raw: Any) -> dict[str, Int[np.ndarray, " n"]]:
        """The rows of each task, of a model whose tasks have rows of their own.

        Args:
          raw: as for the call, with the column of the tasks.

        Returns:
          Task to the numbers of its rows; none for one without rows.

        Raises:
          UserError: for a frame without the column, or a value that training had not.
        """
        frame = checked_frame(raw, ROWS)
        column = str(self.task)
        expect_column(frame, column, "the model", ROWS)
        names = owners_of(frame[column], ROWS, self.owners)
        if unknown := sorted({*names.tolist()} - {*self.owners}):
            raise UserError(
                f"{ROWS}: the task column {column!r} has {unknown[0]!r}: expected one "
                f"of the {len(self.owners)} tasks that the model was trained on"
            )
        rows = {owner: np.flatnonzero(names == owner) for owner in self.owners}
        return {
            task: rows[owner]
            for task, (owner, _) in self._pairs.items()
            if len(rows[owner])
        }

    def targets_of(self, raw: Any) -> dict[str, Any]:
        """The labels of each task in a frame that has some, columns of cells.

        Args:
          raw: as for the call, or of :meth:`tasks_of` where there is a column of tasks.
        """
        frame = checked_frame(raw, ROWS)
        columns = self.label_columns
        if self.task is None:
            return {task: frame[c] for task, c in columns.items() if c in frame}
        return {
            task: frame[columns[task]].iloc[rows]
            for task, rows in self.tasks_of(raw).items()
            if columns[task] in frame
        }

    @property
    def label_columns(self) -> dict[str, str]:
        """Task to the column of its labels."""
        if self.task is None:
            return {target: target for target in self.targets}
        return {task: target for task, (_, target) in self._pairs.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of names, which a text file may have as digits."""
        found = tuple(c for c, own in self.categories.items() if {*own} - BOOLEANS)
        numbered = all(o.startswith(f"{self.task}_") for o in self.owners)
        return found if numbered else (*found, str(self.task))

    @property
    def _pairs(self) -> dict[str, tuple[str, str]]:
        """Task to the owner of its rows and the column of its labels."""
        several = len(self.targets)
        return {
            task_name(owner, target, several): (owner, target)
            for owner in self.owners
            for target in self.targets
        }

    def _places(self, name: str, column: Categories) -> Int[np.ndarray, " N"]:
        """The place of each row's category among those of training; -1 without one."""
        known = {category: i for i, category in enumerate(self.categories[name])}
        place = np.array([known.get(c, -1) for c in column.names], int)
        return np.where(column.codes >= 0, np.append(place, -1)[column.codes], -1)

    def _warn(self, name: str, column: Categories) -> None:
        places = self._places(name, column)
        unseen = np.unique(column.codes[(places < 0) & (column.codes >= 0)])
        if len(unseen):
            logging.warning(
                "%s: column %r has %d categories that training had not, such as %r: "
                "they are taken for empty cells",
                ROWS,
                name,
                len(unseen),
                column.names[unseen[0]],
            )


def task_name(owner: str, target: str, targets: int) -> str:
    """The task of a row's owner and a column of labels, of which there are so many."""
    return owner if targets == 1 else f"{owner} {target}"


def owners_of(column: Any, source: str, known: tuple[str, ...] = ()) -> np.ndarray:
    """The name of the task that each row belongs to, ``[N]``.

    Integers are named after their column and padded with zeros, ``school_007``, so that
    they keep their order.

    Args:
      column: a ``pandas.Series``.
      source: what to call the frame in messages.
      known: names that have been made before, whose width is kept.

    Raises:
      UserError: for empty cells, or numbers that are not whole.

    Example:
      >>> import pandas as pd
      >>> owners_of(pd.Series([7, 12], name="school"), "mine").tolist()
      ['school_07', 'school_12']
      >>> owners_of(pd.Series([7], name="school"), "mine", ("school_12",)).tolist()
      ['school_07']
    """
    expect_full(column, "task", source)
    if look_of(column, source) != "numbers":
        return column.astype(str).to_numpy(str)
    found = numbers(column, "numbers")
    if not (found == np.floor(found)).all():
        raise UserError(
            f"{source}: the task column {column.name!r} has numbers that are not "
            "whole: expected text or whole numbers"
        )
    widths = [len(name) - len(f"{column.name}_") for name in known]
    width = max(widths, default=len(str(int(found.max()))))
    return np.array([f"{column.name}_{int(n):0{width}}" for n in found])


def _as(column: Any, look: Look, known: tuple[str, ...]) -> Any:
    """The column, whose cells are such, or empty.

    Args:
      column: of the new rows.
      look: what it was in training.
      known: the categories that it had there.

    Raises:
      UserError: where they are something else.
    """
    if column.isna().all():
        dtype = "float64" if look == "numbers" else "object"
        return pandas().Series(np.nan, column.index, dtype, column.name)
    found = look_of(column, ROWS)
    if found == look:
        return column
    booleans = bool(known) and BOOLEANS.issuperset(known)
    # Names of digits alone, which a reader of text files takes for numbers.
    if look == "categories" and found == "numbers" and not booleans:
        return _named(column, known)
    if look == "dates" and found == "categories":
        column = dates_or_text(column)
        if look_of(column, ROWS) == look:
            return column
    expected = "True and False" if booleans else look
    raise UserError(
        f"{ROWS}: column {column.name!r} has {found}: expected {expected}, as in "
        "training"
    )


def _named(column: Any, known: tuple[str, ...]) -> Any:
    """Numbers by the names that they have in training: 2.0 may be ``2``, or ``02``."""
    by_value = {value: name for name in known if (value := number_in(name)) is not None}

    def name(cell: Any) -> str:
        return str(cell) if str(cell) in known else by_value.get(float(cell), str(cell))

    return column.astype(object).map(name, na_action="ignore")
