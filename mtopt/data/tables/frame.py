"""A user's own data frame: features, tasks and groups by the names of columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mtopt.data.dataset import Dataset
from mtopt.data.division import SPLITS, TEST, TRAIN, VALID, check_fractions
from mtopt.data.equal_rows import on_both_sides
from mtopt.data.sources import JointDataset
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.data.tables.assembly import assembled, divided
from mtopt.data.tables.class_weights import ClassWeights
from mtopt.data.tables.frame_columns import (
    categories,
    checked_frame,
    expect_column,
    expect_full,
    read_weight,
)
from mtopt.data.tables.frame_encoding import owners_of
from mtopt.data.tables.frame_inputs import read_frame_inputs, too_many_categories
from mtopt.data.tables.frame_labels import read_targets
from mtopt.data.tables.npz_kinds import EACH, GivenKind
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError, expect_number

MAX_CATEGORIES = 100


def from_frame(
    df: Any,
    tasks: Sequence[str],
    *,
    kind: GivenKind = EACH,
    features: Sequence[str] | None = None,
    task: str | None = None,
    group: str | None = None,
    split: str | None = None,
    weight: str | None = None,
    missing: float | int | str | None = None,
    seed: int = 0,
    valid_fraction: float = 0.15,
    test_fraction: float = 0.15,
    min_labels: int = 1,
    max_categories: int = MAX_CATEGORIES,
    common_units: bool = False,
    class_weights: ClassWeights | None = None,
    name: str = "frame",
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset | JointDataset:
    """Makes a multi-task data set of a ``pandas.DataFrame`` with a row for each sample.

    **Inputs** are the columns of ``features``, by the type of their cells:

    ============================= ================================================
    column                        becomes
    ============================= ================================================
    numbers                       a standardised column
    dates, times                  days since 1970-01-01, a standardised column
    text, ``category``, booleans  a column of 0 and 1 for each category that
                                  training rows have
    ============================= ================================================

    Numbers are scaled as by :func:`mtopt.data.npz`, with the training part alone: a
    missing one becomes the mean, all is clipped to 10 standard deviations. An empty
    cell of a category, and a category that no training row has, is zero in all of its
    columns.

    **Labels** are the columns of ``tasks``, of one kind or of several; an empty cell is
    a missing label. Where ``kind`` does not say what they are, the type of their column
    does:

    * Text, ``category`` and booleans are classes, numbered in the order of their sorted
      names; two are ``binary``, of which 1 is the second. A ``category`` that is
      ordered is ``ordinal``, in its own order.
    * Numbers that are 0 and 1 alone are ``binary``, fractions and whole numbers of 1000
      and more ``regression``. Other whole numbers may be classes (digits, stars) or
      numbers (ages, counts), whichever type they are stored in: there the kind has to
      be given. As classes they are numbered from the least on, so that stars from 1 to
      5 are levels 0 to 4; a value that no row has is no class.

    **Tasks with rows of their own**: with ``task``, a row belongs to the task that the
    column names, and ``tasks`` is the column of labels. Whole numbers are named after
    the column, ``school_007``. Of several columns of labels, each makes a task of each
    of these, ``school_007 score``, and the parts are those of the rows. A row without
    a label is left out.

    **Parts**: a column ``split`` of the words ``train``, ``valid`` and ``test``, or
    none; a part that is not there is drawn from the training rows. Rows with equal
    inputs stay together, as in :func:`mtopt.data.npz`. With ``group``, rows with the
    same value of that column (a patient, a site) stay together instead, whichever tasks
    they are of, and parts are drawn from all rows at once: a small task may be in one
    part alone.

    **Weights**: with ``weight``, the training loss of a task is sum(w l) / sum(w) over
    a batch, with what that column says of each row: a row of weight 2 counts as two,
    one of 0 has no labels. ``class_weights`` multiply it by what the label's class
    weighs. Scores, those of validation that choose models among them, and scaling take
    every row alike.

    What the frame was understood to be stands in ``reading``, with the names of the
    classes by task and the columns that were not read; a run prints it.

    Args:
      df: the frame; names of columns are read as text.
      tasks: the columns of labels.
      kind: what the labels are. ``"each"``: as above, column by column; a dict has the
        kinds of some columns by name, others as by ``"each"``; one of ``binary``,
        ``classification``, ``ordinal``, ``ordinal_adjacent`` and ``regression`` is of
        all. Tasks of several kinds are a group each, as :func:`mtopt.data.join` makes
        them. A frame has a type for every column, so that ``"each"`` is what is asked
        least of its user; :func:`mtopt.data.npz`, with one type for all labels, has to
        be told so.
      features: the columns of inputs; None: all that nothing else names, but for those
        of too many categories, as names and numbers of customers are.
      task: the column of the task that a row belongs to; None for shared inputs.
      group: the column of what stays in one part; None: equal inputs.
      split: the column of the part that a row is in; None draws all.
      weight: the column of what a row weighs, finite numbers of at least 0; None: all
        the same.
      missing: a value of the labels that stands for a missing one, -1 for example;
        None: empty cells alone do.
      seed: of the division into parts.
      valid_fraction: share of the training rows for validation, in (0, 1), where there
        is no validation part.
      test_fraction: likewise, for testing.
      min_labels: tasks with fewer training labels are dropped, and a warning names
        them; 0 drops none, and makes a task without any an error.
      max_categories: the most that a column of inputs may have, at least 1.
      common_units: whether the targets of a regression are all in one unit; they are
        then scaled by one mean and one deviation, and errors pooled in that unit.
      class_weights: as of :func:`mtopt.data.npz`, classes by the names that they have.
      name: what to call the set, in tables and messages.
      on_device_bytes: the most that the three splits may take on the device; larger
        sets of shared inputs stay in memory and are streamed.

    Returns:
      The data set: ``x`` float32 ``[N, D]``, numbers and dates in the order of the
      frame, then categories; ``y`` float32 for regression, int32 otherwise. Of several
      kinds, a :class:`mtopt.data.JointDataset` with a group for each.

    Raises:
      UserError: for what is no frame, a column that there is not or that has two roles,
        cells of another type or of several, too many categories, labels of an unclear
        kind or of none, or too few rows or groups to divide; and where pandas is not
        installed.

    Example:
      >>> import pandas as pd
      >>> flats = pd.DataFrame({
      ...     "area": range(20, 60, 2), "heating": ["gas", "wood"] * 10,
      ...     "rent": [400.5, 610.0, 820.0, None] * 5, "pets": ["no", "yes"] * 10})
      >>> data = from_frame(flats, tasks=["rent", "pets"])
      >>> [(group.tasks, group.kind) for group in data.groups]
      [(('pets',), 'binary'), (('rent',), 'regression')]
      >>> data.groups[0].reading["classes"], data.train.size
      ({'pets': ('no', 'yes')}, 14)
    """
    expect_number("min_labels", min_labels, at_least=0)
    expect_number("max_categories", max_categories, at_least=1)
    check_fractions(valid_fraction=valid_fraction, test_fraction=test_fraction)
    frame = checked_frame(df, name)
    targets = kept_names(list(frame.columns), tasks)
    roles = {"task": task, "group": group, "split": split, "weight": weight}
    used = _features(frame, features, targets, roles, name)
    many: dict[str, str] = {}
    if features is None:
        many = too_many_categories(frame, used, max_categories, name)
        used = tuple(column for column in used if column not in many)
        if not used:
            words = ", ".join(f"{column} ({n})" for column, n in many.items())
            raise UserError(
                f"{name}: no column is left for inputs: {words}: expected some with at "
                f"most max_categories={max_categories}"
            )
    inputs = read_frame_inputs(frame, used, max_categories, name)
    labels, classes = read_targets(frame, targets, task, kind, missing, name)
    if weight is not None:
        labels = labels.of_rows(read_weight(frame[weight], name))
    # Rows stand once for each column of labels where they have tasks of their own.
    usable = labels.usable.reshape(-1, len(frame))
    own = None if labels.task is None else labels.task.reshape(usable.shape)[0]
    rows = inputs.rows(own)
    given = np.where(usable.any(axis=0), _given_parts(frame, split, name), -1)
    shares = {VALID: valid_fraction, TEST: test_fraction}
    zeros = np.zeros(len(frame), int)
    if group is None:
        apart = zeros if own is None else own
        parts = divided(given, apart, rows, shares, seed, name)
    else:
        bunches = _bunches(frame[group], given, shares, name)
        parts = divided(given, zeros, bunches, shares, seed, name)
    train = parts == TRAIN
    owners = () if task is None else np.unique(owners_of(frame[task], name))
    encoding = inputs.fitted(train, task, tuple(map(str, owners)), targets)
    named = {*used, *targets, *roles.values()}
    return assembled(
        labels,
        np.tile(inputs.encoded(encoding), (len(usable), 1)),
        np.where(labels.usable, np.tile(parts, len(usable)), -1),
        min_labels=min_labels,
        common_units=common_units,
        on_device_bytes=on_device_bytes,
        name=name,
        reading={
            "inputs": inputs.description(train),
            "missing labels": dict(labels.missing),
            "equal inputs": on_both_sides(rows, parts),
            **{what: column for what, column in roles.items() if column is not None},
            "not read": tuple(
                f"{column} ({many[column]})" if column in many else column
                for column in frame
                if column not in named
            ),
        },
        kind_words=lambda _: _kind_words(kind),
        source=name,
        classes=classes,
        class_weights=class_weights,
        encoding=encoding,
    )


def _kind_words(kind: GivenKind) -> str:
    by_type = "by the type of the column"
    if isinstance(kind, str):
        return by_type if kind == EACH else "given"
    return f"given by name, else {by_type}"


def _features(
    frame: Any,
    features: Sequence[str] | None,
    targets: Sequence[str],
    roles: dict[str, str | None],
    source: str,
) -> tuple[str, ...]:
    """The columns of inputs.

    Raises:
      UserError: for a column that there is not, or that has two roles.
    """
    taken = dict.fromkeys(targets, "tasks")
    for option, column in roles.items():
        if column is None:
            continue
        expect_column(frame, column, option, source)
        if column in taken:
            raise UserError(
                f"{source}: {option} and {taken[column]} name the column {column!r}: "
                "expected a column for each"
            )
        taken[column] = option
    if features is None:
        features = [column for column in frame if column not in taken]
    features = (features,) if isinstance(features, str) else tuple(features)
    for column in features:
        expect_column(frame, column, "features", source)
        if column in taken or features.count(column) > 1:
            raise UserError(
                f"{source}: features and {taken.get(column, 'features')} name the "
                f"column {column!r}: expected it once"
            )
    if not features:
        raise UserError(f"{source}: no column is left for inputs: expected one or more")
    return features


def _given_parts(frame: Any, split: str | None, source: str) -> Int[np.ndarray, " N"]:
    """The part of each row, ``TRAIN`` where the frame does not say."""
    if split is None:
        return np.full(len(frame), TRAIN)
    expect_full(frame[split], "split", source)
    words = [str(word) for word in frame[split]]
    if unknown := sorted({*words} - {*SPLITS}):
        raise UserError(
            f"{source}: the split column {split!r} has {unknown[:5]}: expected "
            f"{', '.join(map(repr, SPLITS))}"
        )
    return np.array([SPLITS.index(word) for word in words])


def _bunches(
    column: Any, split: Int[np.ndarray, " N"], shares: dict[int, float], source: str
) -> Int[np.ndarray, " N"]:
    """A number for each row, the same for rows of one group.

    Raises:
      UserError: for fewer groups than parts: one would be in two of them.
    """
    expect_full(column, "group", source)
    codes = categories(column).codes
    found = len(np.unique(codes[split == TRAIN]))
    parts = 1 + len([part for part in shares if part not in split])
    if found < parts:
        raise UserError(
            f"{source}: the group column {column.name!r} has {found} values among the "
            f"rows to divide: expected {parts} or more, one for each part"
        )
    return codes
