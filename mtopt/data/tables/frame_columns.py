"""What the columns of a data frame are: numbers, dates, or one of some categories."""

import importlib
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mtopt.errors import UserError, nearest

Look = Literal["numbers", "dates", "categories"]
"""What the cells of a column are."""
LOOKS: dict[str, Look] = {
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "decimal": "numbers",
    "empty": "numbers",
    "datetime64": "dates",
    "datetime": "dates",
    "date": "dates",
    "string": "categories",
    "categorical": "categories",
    "boolean": "categories",
}
"""By the words of ``pandas.api.types.infer_dtype``."""


class Categories(NamedTuple):
    """A column of categories.

    Attributes:
      codes: of each row, int ``[N]``; -1 for an empty cell.
      names: of the categories that some row has, by code.
      ordered: whether their order means something.
    """

    codes: Int[np.ndarray, " N"]
    names: tuple[str, ...]
    ordered: bool


def pandas() -> Any:
    """The package, imported where a frame is read and nowhere else.

    Raises:
      UserError: where it is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise UserError(
            'pandas is not installed: expected it for tables; pip install "mtopt'
            '[tables]" brings it'
        ) from error


def checked_frame(df: Any, source: str) -> Any:
    """The frame with names of columns as text.

    Args:
      df: what was given.
      source: what to call it in messages.

    Raises:
      UserError: unless it is a ``pandas.DataFrame`` with rows and distinct names.
    """
    if not isinstance(df, pandas().DataFrame):
        raise UserError(
            f"{source} is a {type(df).__name__}: expected a pandas.DataFrame"
        )
    frame = df.set_axis([str(name) for name in df.columns], axis=1)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(
            f"{source} has the column {twice!r} twice: expected distinct names"
        )
    if not len(frame):
        raise UserError(f"{source} has no rows: expected some")
    return frame


def expect_column(frame: Any, name: str, option: str, source: str) -> None:
    """Raises unless a frame has a column, with the names that come near.

    Args:
      frame: of :func:`checked_frame`.
      name: of the column.
      option: what names it.
      source: what to call the frame.
    """
    if name not in frame:
        raise UserError(
            f"{source}: {option} names the column {name!r}: "
            f"{nearest(name, list(frame.columns))}"
        )


def expect_full(column: Any, option: str, source: str) -> None:
    """Raises for a column with empty cells that needs something in each.

    Args:
      column: a ``pandas.Series``.
      option: what names it.
      source: what to call the frame.
    """
    if empty := int(column.isna().sum()):
        raise UserError(
            f"{source}: the {option} column {column.name!r} has {empty} empty cells: "
            "expected a value in every row"
        )


def read_weight(column: Any, source: str) -> Float[np.ndarray, " N"]:
    """What each row weighs.

    Args:
      column: a ``pandas.Series``.
      source: what to call the frame in messages.

    Raises:
      UserError: unless they are finite numbers of at least 0, not all of them 0.
    """
    expect_full(column, "weight", source)
    words = f"{source}: the weight column {column.name!r}"
    if look_of(column, source) != "numbers":
        raise UserError(f"{words} has no numbers: expected numbers of at least 0")
    found = numbers(column, "numbers").astype(np.float64)
    wrong = found[~(np.isfinite(found) & (found >= 0))]
    if len(wrong):
        raise UserError(
            f"{words} has {len(wrong)} values such as {wrong[0]:g}: expected finite "
            "numbers of at least 0"
        )
    if not found.any():
        raise UserError(f"{words} is all 0: expected some rows that count")
    return found


def look_of(column: Any, source: str) -> Look:
    """What the cells of a column are.

    Args:
      column: a ``pandas.Series``.
      source: what to call the frame in messages.

    Raises:
      UserError: for anything else.

    Example:
      >>> import pandas as pd
      >>> look_of(pd.Series([True, None, False]), "mine")
      'categories'
    """
    words = pandas().api.types.infer_dtype(column, skipna=True)
    if words not in LOOKS:
        raise UserError(
            f"{source}: column {column.name!r} has cells of type {words}: expected "
            "numbers, text, True and False, or dates; leave it out of features=..., or "
            "make them of one such type"
        )
    return LOOKS[words]


def dates_or_text(column: Any) -> Any:
    """A column of text as dates, in UTC, where every cell is one of ISO 8601.

    Args:
      column: a ``pandas.Series`` of text.

    Example:
      >>> import pandas as pd
      >>> str(dates_or_text(pd.Series(["2026-11-30", None])).iloc[0])
      '2026-11-30 00:00:00+00:00'
    """
    try:
        return pandas().to_datetime(column, format="ISO8601", utc=True)
    except ValueError:
        return column


def number_in(text: str) -> float | None:
    """The number that a text is; None where it is none.

    Args:
      text: such as the name of a category.

    Example:
      >>> number_in("01"), number_in("one")
      (1.0, None)
    """
    try:
        return float(text)
    except ValueError:
        return None


def numbers(column: Any, look: Look) -> Float[np.ndarray, " N"]:
    """Numbers as they are, dates as days since 1970-01-01; NaN for an empty cell.

    Args:
      column: a ``pandas.Series`` of numbers or dates.
      look: which of them.

    Returns:
      float32 for a column of that type, float64 for any other. Times without a zone
      are taken as UTC.

    Example:
      >>> import pandas as pd
      >>> numbers(pd.to_datetime(pd.Series(["1970-01-02 06:00", None])), "dates")
      array([1.25,  nan])
    """
    if look == "dates":
        pd = pandas()
        since = pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")
        column = since / pd.Timedelta(days=1)
    dtype = np.float32 if column.dtype == np.float32 else np.float64
    return column.to_numpy(dtype, na_value=np.nan)


def categories(column: Any) -> Categories:
    """The names of a column, sorted; those of an ordered one in their order.

    Args:
      column: a ``pandas.Series`` of text, booleans or categories.

    Example:
      >>> import pandas as pd
      >>> found = categories(pd.Series(["b", None, "a"]))
      >>> found.codes.tolist(), found.names
      ([1, -1, 0], ('a', 'b'))
      >>> sizes = pd.Categorical(["S", "L"], categories=["S", "M", "L"], ordered=True)
      >>> categories(pd.Series(sizes)).names
      ('S', 'L')
    """
    ordered = bool(getattr(column.dtype, "ordered", False))
    if ordered:
        values = column.cat.remove_unused_categories().array
    else:
        text = column.astype(object).map(str, na_action="ignore")
        values = pandas().Categorical(text)
    names = tuple(str(name) for name in values.categories)
    return Categories(np.array(values.codes, np.int64), names, ordered)
