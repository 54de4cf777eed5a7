"""Tables as users have them, as the arrays that the learner takes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from mtopt.data.tables.scaling import resolved
from mtopt.errors import UserError, expect


def read_rows(
    estimator: BaseEstimator, X: Any, task: Any, column: str | int | None, fitting: bool
) -> tuple[Float[np.ndarray, "N D"], np.ndarray]:
    """The numeric features, and the task of every row.

    Args:
      estimator: keeps the names and the number of columns when it is fitted, and is
        what they are compared with later.
      X: a table: an array, nested lists, or a frame with named columns.
      task: the task of every row, where it is not a column.
      column: the column with the task, by name or position.
      fitting: whether the estimator is being fitted.

    Returns:
      float32 features, NaN where they are missing; tasks ``[N]``, strings or numbers.

    Raises:
      UserError: for a task given twice or not at all, a column that is not there, other
        columns than were fitted, what is no number, or tasks of which some are missing.
    """
    if (task is None) == (column is None):
        raise UserError(
            "the task of every row comes either as task=... or as a column of X with "
            "task_column=...: give one of them"
        )
    with _one_line("X"):
        validate_data(estimator, X, reset=fitting, skip_check_array=True)
    if column is not None:
        names = getattr(estimator, "feature_names_in_", None)
        place = task_position(column, names, estimator.n_features_in_)  # pyright: ignore
        X, task = _take_out(X, place)
    with _one_line("X", "expected numbers; categories go in as one-hot columns"):
        X = check_array(
            X,
            dtype=np.float32,  # pyright: ignore[reportArgumentType]
            ensure_all_finite="allow-nan",  # pyright: ignore[reportArgumentType]
        )
    return X, _tasks(task, len(X))


def task_position(column: str | int, names: np.ndarray | None, count: int) -> int:
    """Where the column of the task stands.

    Args:
      column: its name, or its position, from the end if below 0.
      names: of all columns, where they have names.
      count: how many columns there are.

    Raises:
      UserError: where there is no such column.

    Example:
      >>> task_position("region", np.array(["age", "region"]), 2)
      1
    """
    if isinstance(column, str):
        known = [] if names is None else [str(name) for name in names]
        expected = (
            f"one of {', '.join(known)}" if known else "a position: no names in X"
        )
        expect(column in known, "task_column", column, expected)
        return known.index(column)
    inside = -count <= column < count
    expect(inside, "task_column", column, f"a column of X, which has {count}")
    return column % count


def read_weights(weights: Any, rows: int) -> Float[np.ndarray, " N"]:
    """Weights of the rows, ``[N]`` or ``[N, 1]``; ones where there are none."""
    if weights is None:
        return np.ones(rows, np.float32)
    with _one_line("sample_weight", "expected a number of at least 0 for each row"):
        weights = np.asarray(weights, np.float32)
    sized = weights.shape in ((rows,), (rows, 1))
    expect(sized, "sample_weight.shape", weights.shape, f"({rows},), one for each row")
    return weights.reshape(rows)


def read_targets(
    y: Any, weights: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N ..."]:
    """Numbers to fit, ``[N]`` or ``[N, O]``, whatever they are on rows without weight.

    Raises:
      UserError: for another shape, what is no number, or a missing one that has weight.
    """
    with _one_line("y", "expected numbers"):
        y = np.asarray(y, np.float64)
    rows = len(weights)
    sized = y.ndim in (1, 2) and len(y) == rows and 0 not in y.shape
    expect(sized, "y.shape", y.shape, f"({rows},) or ({rows}, outputs), as X has rows")
    missing = ~np.isfinite(y) & (weights > 0).reshape(-1, *(1 for _ in y.shape[1:]))
    if missing.any() and y.ndim == 1:
        raise UserError(
            f"y has NaN or infinity in {int(missing.sum())} of {rows} rows: leave "
            "these rows out, or give them the weight 0"
        )
    if missing.any():
        raise UserError(
            f"y has NaN or infinity in {int(missing.sum())} of {y.size} places, and a "
            "tree is fitted to all outputs of a row: expected outputs that are all "
            "there; or make each output a task, with rows of X repeated for those that "
            "are (the docstring of MultiTaskBoostingRegressor shows it)"
        )
    return np.where(np.isfinite(y), y, 0)


def moments(
    y: Float[np.ndarray, "N ..."], weights: Float[np.ndarray, " N"]
) -> tuple[Any, Any]:
    """The mean and the deviation of targets, of each output; 1 of equal ones.

    Args:
      y: of :func:`read_targets`.
      weights: of the rows; those of 0 are not counted.

    Example:
      >>> mean, std = moments(np.array([1., 3., 9.]), np.array([1., 1., 0.]))
      >>> float(mean), float(std)
      (2.0, 1.0)
    """
    shape, seen = y.shape[1:], weights > 0
    y, weights = y[seen].reshape(seen.sum(), -1), weights[seen]
    mean = np.average(y, axis=0, weights=weights)
    std = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))
    std = np.where(resolved(y.min(axis=0), y.max(axis=0), y.dtype), std, 1.0)
    return mean.reshape(shape), std.reshape(shape)


def read_classes(
    y: Any, weights: Float[np.ndarray, " N"]
) -> tuple[np.ndarray, Num[np.ndarray, " N"]]:
    """The labels of the classes, sorted, and the number of every row's.

    Raises:
      UserError: for another shape, fewer than two classes, numbers that are no classes,
        or a missing label on a row that has weight.
    """
    labels, rows = np.asarray(y), len(weights)
    if labels.shape == (rows, 1):
        labels = labels[:, 0]
    expect(
        labels.shape == (rows,), "y.shape", labels.shape, f"({rows},), a class a row"
    )
    missing = _missing(labels)
    if (missing & (weights > 0)).any():
        raise UserError(
            f"y has no class in {int((missing & (weights > 0)).sum())} of {rows} rows: "
            "leave these rows out, or give them the weight 0"
        )
    kept = _plain(labels[~missing], "y")
    with _one_line("y"):
        check_classification_targets(kept)
    classes, numbers = np.unique(kept, return_inverse=True)
    expect(len(classes) >= 2, "y", classes.tolist(), "two classes at least")
    found = np.zeros(rows, np.int64)
    found[~missing] = numbers
    return classes, found


def check_weight_of_tasks(
    tasks: np.ndarray, number: np.ndarray, weights: Float[np.ndarray, " N"]
) -> None:
    """Raises for a task all rows of which have the weight 0, by name."""
    total = np.bincount(number, weights > 0, minlength=len(tasks))
    if not total.all():
        raise UserError(
            f"task {tasks[total == 0].tolist()} has rows of weight 0 alone: leave them "
            "out, or give one a weight"
        )


def _take_out(X: Any, place: int) -> tuple[Any, np.ndarray]:
    """A table without one of its columns, and that column."""
    names = list(getattr(X, "columns", ()))
    # Frames of pandas and polars keep the type of every column, missing values too.
    if hasattr(X, "dtypes") and len(set(names)) == len(names):
        return X[names[:place] + names[place + 1 :]], np.asarray(X[names[place]])
    X = np.asarray(X)
    return np.delete(X, place, axis=1), X[:, place]


def _tasks(task: Any, rows: int) -> np.ndarray:
    task = np.asarray(task)
    if task.shape == (rows, 1):
        task = task[:, 0]
    expect(task.shape == (rows,), "task.shape", task.shape, f"({rows},), as X has rows")
    if missing := int(_missing(task).sum()):
        raise UserError(
            f"task is missing in {missing} of {rows} rows: leave these rows out, or "
            "name a task for them"
        )
    return _plain(task, "task")


def _missing(values: np.ndarray) -> np.ndarray:
    """Where an array has None, NaN or pandas' NA."""
    if values.dtype.kind in "fc":
        return np.isnan(values)
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype.kind != "O":
        return np.zeros(values.shape, bool)
    return np.array(
        [v is None or type(v).__name__ == "NAType" or bool(v != v) for v in values],
        bool,
    )


def _plain(values: np.ndarray, name: str) -> np.ndarray:
    """Python objects as strings or as numbers, which can be sorted and compared."""
    if values.dtype.kind != "O":
        return values
    kinds = {"strings" if isinstance(v, str) else type(v).__name__ for v in values}
    plain = np.array(values.tolist())
    if ("strings" in kinds and len(kinds) > 1) or plain.dtype.kind not in "biufSU":
        raise UserError(
            f"{name} has values of types {', '.join(sorted(kinds))}: expected strings "
            "alone, or numbers alone"
        )
    return plain


@contextlib.contextmanager
def _one_line(name: str, expected: str = "") -> Iterator[None]:
    """What scikit-learn and NumPy say, as an error of the user's in one line."""
    try:
        yield
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{name}: {said}{expected and f': {expected}'}") from error
