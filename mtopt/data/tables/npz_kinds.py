"""What the labels of an ``.npz`` file are: classes, 0 and 1, or numbers."""

import pathlib
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from mtopt.errors import UserError

NpzKind = Literal[
    "classification", "binary", "regression", "ordinal", "ordinal_adjacent"
]
KINDS = get_args(NpzKind)
CLASSES_OF = ("classification", "ordinal", "ordinal_adjacent")
"""Kinds whose labels are 0, 1, 2 ...; which of them have an order no number tells."""

SMALL = 1000
"""Whole numbers below it may be classes or numbers; no set has more classes."""
LISTED = 20

# What the labels of one task look like.
ZERO_ONE = "0 and 1"
SIGNS = "-1 and 1"
CLASSES = "classes"
NEGATIVE = "whole numbers with -1"
WHOLE = "whole numbers stored as floats"
INTEGERS = "integers"
NUMBERS = "numbers"


def infer_kind(tasks: Mapping[str, np.ndarray], path: pathlib.Path) -> NpzKind:
    """The one kind that all tasks' labels can only be of.

    0 and 1 alone are ``binary``; integers from 0 to below 1000 are ``classification``,
    beside columns of 0 and 1 too; floats of which some are no whole numbers are
    ``regression``. A task with one value alone says nothing where another says
    something.

    Args:
      tasks: task name to its labels that are not missing.
      path: the file, for messages.

    Raises:
      UserError: where that leaves a choice, or tasks differ: with what every task's
        labels look like, and what to do.

    Example:
      >>> infer_kind({"a": np.array([0., 1.]), "b": np.array([1, 0])}, pathlib.Path())
      'binary'
      >>> infer_kind({"a": np.array([.5, 2.]), "b": np.array([0., 1.])},
      ...            pathlib.Path("mine.npz"))
      Traceback (most recent call last):
      mtopt.errors.UserError: mine.npz: the kind of its labels is not clear: a has \
numbers from 0.5 to 2; b has 0 and 1: expected one kind for all tasks; leave out \
columns until one kind remains; kind='regression' takes all as numbers
    """
    values = {name: np.unique(labels) for name, labels in tasks.items()}
    telling = {name: v for name, v in values.items() if len(v) > 1}
    telling = telling or {name: v for name, v in values.items() if len(v)}
    looks = {name: _look(v) for name, v in telling.items()}
    found = set(looks.values())
    if found == {ZERO_ONE}:
        return "binary"
    if CLASSES in found and found <= {CLASSES, ZERO_ONE}:
        return "classification"
    if found == {NUMBERS}:
        return "regression"
    columns = [f"{name} has {_words(looks[name], telling[name])}" for name in looks]
    if len(columns) > LISTED:
        columns[LISTED:] = [f"{len(columns) - LISTED} more"]
    expected = "expected one kind for all tasks" if len(found) > 1 else "expected one"
    raise UserError(
        f"{path}: the kind of its labels is not clear: {'; '.join(columns)}: "
        f"{expected}; {_advice(found)}"
    )


def check_range(values: np.ndarray, kind: NpzKind, path: pathlib.Path) -> None:
    """Raises for a label that is none of its kind, with the way to mark a missing one.

    Args:
      values: the labels that are not missing.
      kind: what they are to be.
      path: the file, for messages.
    """
    if kind == "regression":
        return
    if kind == "binary":
        fits, expected = np.isin(values, (0, 1)), "0 or 1"
    else:
        fits = (values == np.floor(values)) & (values >= 0) & (values < 2**31)
        expected = "classes 0, 1, 2 ..."
    if not fits.all():
        wrong = values[~fits][0]
        advice = f"; missing={wrong} takes it as a missing label" if wrong < 0 else ""
        raise UserError(
            f"{path}: y has the value {wrong}: {kind} takes {expected}{advice}"
        )


def _advice(found: set[str]) -> str:
    """What to do about labels that look like all of these."""
    advice = []
    if SIGNS in found:
        advice.append("labels -1 and 1 are kind='binary' once stored as (y + 1) / 2")
    if NEGATIVE in found:
        advice.append("missing=-1 takes each -1 as a missing label, as NaN is one")
    if NUMBERS in found and len(found) > 1:
        advice.append("leave out columns until one kind remains")
    elif found & {WHOLE, INTEGERS}:
        advice.append(
            "kind='classification' takes all as classes 0, 1, 2 ..., kind='ordinal' as "
            "levels in that order"
        )
    return "; ".join([*advice, "kind='regression' takes all as numbers"])


def _look(values: np.ndarray) -> str:
    """What sorted distinct labels look like."""
    if np.isin(values, (0, 1)).all():
        return ZERO_ONE
    if np.isin(values, (-1, 1)).all():
        return SIGNS
    if (values != np.floor(values)).any():
        return NUMBERS
    integers = values.dtype.kind != "f"
    if values[0] >= 0 and values[-1] < SMALL:
        return CLASSES if integers else WHOLE
    if values[0] == -1 and values[-1] < SMALL:
        return NEGATIVE
    if integers:
        return INTEGERS
    return WHOLE if max(-values[0], values[-1]) < SMALL else NUMBERS


def _words(look: str, values: np.ndarray) -> str:
    if look in (ZERO_ONE, SIGNS):
        return look
    if look == CLASSES:
        return f"classes up to {values[-1]:g}"
    return f"{look} from {values[0]:g} to {values[-1]:g}"
