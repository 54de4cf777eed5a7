"""The inputs of a data frame: numbers and dates standardised, categories one-hot."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mtopt.data.equal_rows import equal_rows
from mtopt.data.tables.frame_columns import (
    Categories,
    Look,
    categories,
    look_of,
    numbers,
)
from mtopt.data.tables.frame_encoding import FrameEncoding
from mtopt.data.tables.scaling import moments
from mtopt.errors import UserError

NAMED = 12
"""The most categories that are named one by one."""


class FrameInputs(NamedTuple):
    """Columns of a frame, before anything is fitted to them.

    Attributes:
      numbers: column to its numbers, ``[N]``, NaN where a cell is empty.
      categories: column to its categories.
      looks: what the cells of each column are, in the order of the columns.
    """

    numbers: Mapping[str, np.ndarray]
    categories: Mapping[str, Categories]
    looks: Mapping[str, Look]

    def fitted(
        self,
        train: Bool[np.ndarray, " N"],
        task: str | None = None,
        owners: tuple[str, ...] = (),
        targets: tuple[str, ...] = (),
    ) -> FrameEncoding:
        """What makes inputs of these columns, and of those of new rows.

        Args:
          train: True for training rows, which alone it is fitted to.
          task: as of :class:`FrameEncoding`, as are the others.
          owners: the values of that column.
          targets: the columns of labels.
        """
        means, stds = {}, {}
        if self.numbers:
            moved = moments(np.stack([*self.numbers.values()], axis=1)[train])
            means, stds = (
                dict(zip(self.numbers, m.tolist(), strict=True)) for m in moved
            )
        seen = {name: _seen(own, train) for name, own in self.categories.items()}
        return FrameEncoding(dict(self.looks), means, stds, seen, task, owners, targets)

    def encoded(self, encoding: FrameEncoding) -> Float[np.ndarray, "N D"]:
        """All columns side by side, numbers and dates first, float32."""
        return encoding.encoded(self.numbers, self.categories)

    def rows(self, task: Int[np.ndarray, " N"] | None) -> Int[np.ndarray, " N"]:
        """Numbers of the rows, the same where all inputs, and the task, are equal."""
        codes = [column.codes for column in self.categories.values()]
        own = [] if task is None else [task]
        return equal_rows(*self.numbers.values(), *codes, *own)

    def description(self, train: Bool[np.ndarray, " N"]) -> dict[str, str]:
        """Column to what :meth:`encoded` makes of it, in words."""
        return {
            name: self._number_words(name, look, train)
            if look != "categories"
            else _category_words(self.categories[name], train)
            for name, look in self.looks.items()
        }

    def _number_words(self, name: str, look: Look, train: np.ndarray) -> str:
        values = self.numbers[name]
        words = "days since 1970-01-01, " * (look == "dates") + "standardised"
        if missing := int((~np.isfinite(values)).sum()):
            words += f", {missing} missing values became the mean"
        if moments(values[train, None])[1] == 0:
            words += ", constant in training became 0"
        return words


def read_frame_inputs(
    frame: Any, features: Sequence[str], max_categories: int, source: str
) -> FrameInputs:
    """Reads the columns that are inputs; see :func:`mtopt.data.from_frame`.

    Args:
      frame: a ``pandas.DataFrame``.
      features: the names of the columns.
      max_categories: the most that one may have.
      source: what to call the frame in messages.

    Raises:
      UserError: for a column of another type, or with too many categories.

    Example:
      >>> import pandas as pd
      >>> frame = pd.DataFrame({"x": [0.0, 2.0, 4.0], "of": ["b", "a", "c"]})
      >>> inputs = read_frame_inputs(frame, ("x", "of"), 9, "mine")
      >>> inputs.encoded(inputs.fitted(np.array([True, True, False]))).tolist()
      [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [3.0, 0.0, 0.0]]
    """
    looks: dict[str, Look] = {name: look_of(frame[name], source) for name in features}
    own = {n: categories(frame[n]) for n, look in looks.items() if look == "categories"}
    for name, column in own.items():
        if len(column.names) > max_categories:
            raise UserError(
                f"{source}: column {name!r} has {len(column.names)} categories, each "
                f"a column of inputs: expected at most max_categories={max_categories};"
                " leave it out of features=..., or allow more"
            )
    values = {n: numbers(frame[n], look) for n, look in looks.items() if n not in own}
    return FrameInputs(values, own, looks)


def too_many_categories(
    frame: Any, columns: Sequence[str], max_categories: int, source: str
) -> dict[str, str]:
    """Columns with more categories than they may have, and how many those are.

    Args:
      frame: a ``pandas.DataFrame``.
      columns: the names of some.
      max_categories: the most that one may have.
      source: what to call the frame in messages.

    Raises:
      UserError: for a column of another type.

    Example:
      >>> import pandas as pd
      >>> names = pd.DataFrame({"name": ["a", "b", "c"]})
      >>> too_many_categories(names, ["name"], 2, "mine")
      {'name': '3 categories'}
    """
    counts = {
        name: len(categories(frame[name]).names)
        for name in columns
        if look_of(frame[name], source) == "categories"
    }
    many = {n: count for n, count in counts.items() if count > max_categories}
    return {n: f"{count} categories" for n, count in many.items()}


def _seen(column: Categories, train: np.ndarray) -> tuple[str, ...]:
    """The categories that training rows have, sorted."""
    codes = np.unique(column.codes[train & (column.codes >= 0)])
    return tuple(column.names[code] for code in codes)


def _category_words(column: Categories, train: np.ndarray) -> str:
    seen = _seen(column, train)
    words = f"one-hot of {len(seen)} categories"
    if len(seen) <= NAMED:
        words = f"one-hot of {', '.join(seen)}"
    if missing := int((column.codes < 0).sum()):
        words += f", {missing} missing values became zeros"
    known = [code for code, name in enumerate(column.names) if name in seen]
    if unseen := int((~np.isin(column.codes, (-1, *known))).sum()):
        words += f", {unseen} values unseen in training became zeros"
    return words
