"""What the labels of an ``.npz`` file are: classes, 0 and 1, or numbers."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtopt.errors import UserError, nearest
from mtopt.kind import own_kind

NpzKind = str
"""One of ``KINDS``, or ``module:name``, a :class:`mtopt.Kind` of one's own."""
KINDS = ("classification", "binary", "regression", "ordinal", "ordinal_adjacent")
EACH = "each"
"""In place of a kind: every task is of the one that its own labels look like."""
GivenKind = NpzKind | Mapping[str, str]
"""What a user may say of the kinds of a file's tasks."""

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
CLEAR: Mapping[str, NpzKind] = {
    ZERO_ONE: "binary",
    CLASSES: "classification",
    NUMBERS: "regression",
}
"""What looks like one kind alone."""


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
columns until one kind remains; kind='regression' takes all as numbers; kind='each' \
takes every task for what its own labels look like
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
    expected = "expected one kind for all tasks" if len(found) > 1 else "expected one"
    raise UserError(
        f"{path}: the kind of its labels is not clear: {_listed(looks, telling)}: "
        f"{expected}; {_advice(found)}"
    )


def kinds_of(
    tasks: Mapping[str, np.ndarray], given: GivenKind | None, path: pathlib.Path
) -> tuple[NpzKind, ...]:
    """The kind of every task, in the order of the tasks.

    Args:
      tasks: task name to its labels that are not missing.
      given: one kind for all; ``"each"``, by which 0 and 1 alone are ``binary``,
        integers from 0 to below 1000 ``classification`` and numbers ``regression``,
        task by task; the kinds of some tasks by name, others as by ``"each"``; None:
        :func:`infer_kind`.
      path: the file, for messages.

    Raises:
      UserError: for a kind or a task that there is not, or labels that may be of
        several kinds.

    Example:
      >>> kinds_of({"a": np.array([.5, 2.]), "b": np.array([0., 1.])}, "each",
      ...          pathlib.Path())
      ('regression', 'binary')
    """
    if given is None:
        given = infer_kind(tasks, path)
    if not isinstance(given, Mapping) and given != EACH:
        return (known_kind(given),) * len(tasks)
    of_names = given if isinstance(given, Mapping) else {}
    named: dict[str, NpzKind] = {n: known_kind(k) for n, k in of_names.items()}
    for name in named:
        if name not in tasks:
            raise UserError(
                f"{path}: kind names the task {name!r}: {nearest(name, list(tasks))}"
            )
    rest = {n: np.unique(labels) for n, labels in tasks.items() if n not in named}
    looks = {name: _look(values) for name, values in rest.items() if len(values)}
    unclear = {name: look for name, look in looks.items() if look not in CLEAR}
    if unclear:
        names = ", ".join(f"{name!r}: 'regression'" for name in list(unclear)[:LISTED])
        raise UserError(
            f"{path}: the kinds of some tasks are not clear: {_listed(unclear, rest)}: "
            f"expected their kinds by name, such as kind={{{names}}}"
        )
    # Without a label there is nothing to tell, and the task is dropped.
    return tuple(
        named[name] if name in named else CLEAR[looks.get(name, ZERO_ONE)]
        for name in tasks
    )


def how_known(given: GivenKind | None, names: Sequence[str]) -> str:
    """Where the kind of some tasks is from, in words.

    Args:
      given: as :func:`kinds_of`.
      names: of the tasks.

    Example:
      >>> how_known({"a": "ordinal"}, ("a",)), how_known("each", ("a",))
      ('given', 'inferred from the values')
    """
    if given is None or given == EACH:
        return "inferred from the values"
    if isinstance(given, str) or given.keys() >= {*names}:
        return "given"
    some = "given for some, others " if given.keys() & {*names} else ""
    return f"{some}inferred from the values"


def known_kind(kind: Any) -> NpzKind:
    """A kind by its name.

    Raises:
      UserError: for a name of none, or of none in its module.
    """
    if kind in KINDS or (isinstance(kind, str) and own_kind(kind) is not None):
        return kind
    raise UserError(
        f"kind is {kind!r}: expected one of {KINDS}, {EACH!r} for that of every "
        "task by itself, kinds by task name, or None to infer one for all"
    )


def _listed(looks: Mapping[str, str], values: Mapping[str, np.ndarray]) -> str:
    """What the labels of each task look like, of the first ones."""
    columns = [f"{name} has {_words(looks[name], values[name])}" for name in looks]
    if len(columns) > LISTED:
        columns[LISTED:] = [f"{len(columns) - LISTED} more"]
    return "; ".join(columns)


def check_range(values: np.ndarray, kind: NpzKind, path: pathlib.Path) -> None:
    """Raises for a label that is none of its kind, with the way to mark a missing one.

    Args:
      values: the labels that are not missing.
      kind: what they are to be.
      path: the file, for messages.
    """
    own = own_kind(kind)
    if kind == "regression" or (own is not None and not own.integers):
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
    advice.append("kind='regression' takes all as numbers")
    if len(found) > 1:
        advice.append("kind='each' takes every task for what its own labels look like")
    return "; ".join(advice)


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
