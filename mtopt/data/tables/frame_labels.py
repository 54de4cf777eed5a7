"""The labels of a data frame: columns of numbers, or of classes by name."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mtopt.data.tables.frame_columns import categories, look_of, numbers
from mtopt.data.tables.frame_encoding import owners_of, task_name
from mtopt.data.tables.npz_kinds import (
    EACH,
    SMALL,
    GivenKind,
    NpzKind,
    known_kind,
)
from mtopt.data.tables.npz_labels import Labels
from mtopt.errors import UserError, nearest
from mtopt.kind import own_kind

ORDERED = ("ordinal", "ordinal_adjacent")


class Target(NamedTuple):
    """One column of labels.

    Attributes:
      values: a number or the code of a class for each row; 0 for a missing label.
      known: False where it is.
      names: of the classes, by code; none where labels are numbers.
      ordered: whether the order of the classes means something.
      of_numbers: whether the cells are numbers, which may be classes too.
    """

    values: Float[np.ndarray, " N"]
    known: Bool[np.ndarray, " N"]
    names: tuple[str, ...]
    ordered: bool
    of_numbers: bool

    @property
    def kind(self) -> NpzKind | None:
        """What the labels are by the type of their column; None where it is not clear.

        Whole numbers below 1000 may be classes or numbers, whichever type they are
        stored in: an age is an integer, and classes with an empty cell are floats.
        """
        if self.ordered:
            return "ordinal"
        if not self.of_numbers:
            return "binary" if len(self.names) <= 2 else "classification"
        values = self.values[self.known]
        if np.isin(values, (0, 1)).all():
            return "binary"
        return None if _whole(values) and np.abs(values).max() < SMALL else "regression"

    def of_classes(self) -> "Target":
        """Numbers as classes: the smallest is class 0, the next one class 1.

        Those that are 0, 1, 2 ... already need no names.
        """
        found, codes = np.unique(self.values[self.known], return_inverse=True)
        counted = np.isin(found, (0, 1)).all() or (found == np.arange(len(found))).all()
        if not self.of_numbers or counted:
            return self
        values = np.zeros_like(self.values)
        values[self.known] = codes
        return self._replace(values=values, names=tuple(str(int(v)) for v in found))


def read_targets(
    frame: Any,
    tasks: tuple[str, ...],
    task: str | None,
    kind: GivenKind,
    missing: float | int | str | None,
    source: str,
) -> tuple[Labels, dict[str, tuple[str, ...]]]:
    """Reads the columns of labels; see :func:`mtopt.data.from_frame`.

    Args:
      frame: a ``pandas.DataFrame``.
      tasks: the names of the T columns, sorted.
      task: the column that says which task a row belongs to; None for shared inputs.
      kind: what the labels are.
      missing: a value that stands for a missing label.
      source: what to call the frame in messages.

    Returns:
      The labels, and task to the names of its classes. With ``task`` the labels of the
      first column come first, then those of the second: ``[T N]``.

    Raises:
      UserError: for labels that are of none or of several kinds.

    Example:
      >>> import pandas as pd
      >>> frame = pd.DataFrame({"of": ["b", "a", None], "size": [0.5, 2.0, 1.0]})
      >>> labels, names = read_targets(frame, ("of", "size"), None, "each", None, "it")
      >>> labels.names, labels.kinds, labels.y[:, 0].tolist(), names
      (('of', 'size'), ('binary', 'regression'), [1.0, 0.0, 0.0], {'of': ('a', 'b')})
    """
    reasons = {"empty cells": 0} | ({} if missing is None else {f"{missing!r}": 0})
    read = {n: _target(frame[n], missing, reasons, source) for n in tasks}
    if missing is not None and not reasons[f"{missing!r}"]:
        raise UserError(
            f"{source}: no label is {missing!r}: expected missing={missing!r} to mark "
            "some; leave it out"
        )
    kinds = _kinds(read, kind, source)
    targets = {n: _of_kind(n, read[n], kinds[n], source) for n in tasks}
    y = np.stack([target.values for target in targets.values()], axis=1)
    known = np.stack([target.known for target in targets.values()], axis=1)
    if not known.any():
        raise UserError(
            f"{source}: every label of {', '.join(tasks)} is missing: expected some"
        )
    hit = {words: count for words, count in reasons.items() if count}
    classes = {n: target.names for n, target in targets.items() if target.names}
    if task is None:
        return Labels(y, known, None, tasks, tuple(kinds.values()), hit), classes
    owners, own = np.unique(owners_of(frame[task], source), return_inverse=True)
    pairs = [(column, owner) for column in tasks for owner in owners.tolist()]
    names = [task_name(owner, column, len(tasks)) for column, owner in pairs]
    order = sorted(range(len(pairs)), key=names.__getitem__)
    columns = [pairs[i][0] for i in order]
    pair = np.arange(len(tasks))[:, None] * len(owners) + own
    labels = Labels(
        y.T.reshape(-1),
        known.T.reshape(-1),
        np.argsort(order)[pair].reshape(-1),
        tuple(names[i] for i in order),
        tuple(kinds[column] for column in columns),
        hit,
    )
    named = zip(labels.names, columns, strict=True)
    return labels, {name: classes[c] for name, c in named if c in classes}


def _target(
    column: Any,
    missing: float | int | str | None,
    reasons: dict[str, int],
    source: str,
) -> Target:
    """A column as it is; what is missing is counted by reason."""
    reasons["empty cells"] += int(column.isna().sum())
    if missing is not None:
        marked = (column == missing).to_numpy(bool, na_value=False)
        reasons[f"{missing!r}"] += int(marked.sum())
        column = column.mask(marked)
    look = look_of(column, source)
    if look == "categories":
        found = categories(column)
        known = found.codes >= 0
        values = np.where(known, found.codes, 0).astype(np.float64)
        return Target(values, known, found.names, found.ordered, False)
    values = numbers(column, look)
    if infinite := int(np.isinf(values).sum()):
        raise UserError(
            f"{source}: column {column.name!r} has {infinite} infinite labels: "
            "expected numbers, and an empty cell where a label is missing"
        )
    known = ~np.isnan(values)
    return Target(np.where(known, values, 0), known, (), False, True)


def _kinds(
    targets: Mapping[str, Target], given: GivenKind, source: str
) -> dict[str, NpzKind]:
    """The kind of every column: as it was given, or else by the column's type."""
    if isinstance(given, str):
        if given != EACH:
            return dict.fromkeys(targets, known_kind(given))
        given = {}
    for name in given:
        if name not in targets:
            raise UserError(
                f"{source}: kind names the task {name!r}: {nearest(name, [*targets])}"
            )
    kinds: dict[str, NpzKind | None] = {
        name: known_kind(given[name]) if name in given else target.kind
        for name, target in targets.items()
    }
    found: dict[str, NpzKind] = {n: kind for n, kind in kinds.items() if kind}
    if unclear := [name for name in targets if name not in found]:
        words = [
            f"{name} has whole numbers from {values.min():g} to {values.max():g}"
            for name in unclear
            for values in [targets[name].values[targets[name].known]]
        ]
        names = ", ".join(f"{name!r}: 'regression'" for name in unclear)
        raise UserError(
            f"{source}: the kinds of some tasks are not clear: {'; '.join(words)}: "
            f"expected kind={{{names}}}, or 'classification', or 'ordinal' for levels "
            "in that order"
        )
    return found


def _of_kind(name: str, target: Target, kind: NpzKind, source: str) -> Target:
    """The labels of a column as those of a kind.

    Raises:
      UserError: where they can't be.
    """
    column = f"{source}: column {name!r}"
    own = own_kind(kind)
    if kind == "regression" or (own is not None and not own.integers):
        if not target.of_numbers:
            raise UserError(
                f"{column} has names, such as {target.names[0]!r}: {kind} takes "
                "numbers; expected a kind of classes"
            )
        return target
    if kind in ORDERED and not (target.of_numbers or target.ordered):
        raise UserError(
            f"{column} has names without an order: {kind} takes numbers, or a column "
            "of pandas.Categorical(..., ordered=True)"
        )
    values = target.values[target.known]
    if target.of_numbers and not _whole(values):
        raise UserError(
            f"{column} has the value {values[values != np.floor(values)][0]:g}: {kind} "
            "takes whole numbers or names"
        )
    most = 2 if kind == "binary" else SMALL
    if (found := len(np.unique(values))) > most:
        raise UserError(f"{column} has {found} classes: {kind} takes at most {most}")
    return target.of_classes()


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.floor(values)).all())
