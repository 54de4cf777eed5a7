"""What a label weighs by its class, so that rare classes count like common ones."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from mtopt.data.tables.npz_kinds import CLASSES_OF
from mtopt.data.tables.npz_labels import Labels
from mtopt.errors import UserError, nearest
from mtopt.kind import own_kind

BALANCED = "balanced"
ClassWeights = str | Mapping[str, Any]
"""``"balanced"``, or task to ``"balanced"`` or to a number for each of its classes."""


def with_class_weights(
    labels: Labels,
    given: ClassWeights | None,
    train: Bool[np.ndarray, " N"],
    names: Mapping[str, Sequence[str]],
    source: str | pathlib.Path,
) -> tuple[Labels, dict[str, dict[str, float]]]:
    r"""Labels that weigh what their class does, times what they weighed before.

    ``"balanced"`` is scikit-learn's rule on the training labels of a task, of which
    :math:`W` is the weight in all, and :math:`W_c` that of class c of C:

    .. math:: w_c = \frac{W}{C\, W_c}

    Args:
      labels: of all tasks.
      given: ``"balanced"`` for every task of classes; a dict has some tasks by name,
        each ``"balanced"`` or a dict of a number above 0 for each class by name, or by
        number where classes have no names. None: they weigh the same.
      train: True for training rows.
      names: task to the names of its classes, where they have names.
      source: where the labels are from, for messages.

    Returns:
      The labels, and task to class to weight, in words for people.

    Raises:
      UserError: for a task or a class that there is not, one without a weight, labels
        that are no classes, or a weight that is no number above 0.

    Example:
      >>> y, known = np.array([[0.], [0.], [0.], [1.]]), np.ones((4, 1), bool)
      >>> labels = Labels(y, known, None, ("ill",), ("binary",), {})
      >>> _, weights = with_class_weights(labels, "balanced", known[:, 0], {}, "mine")
      >>> weights
      {'ill': {'0': 0.6666666666666666, '1': 2.0}}
    """
    if given is None:
        return labels, {}
    found: dict[str, dict[str, float]] = {}
    weight = np.ones(labels.y.shape) if labels.weight is None else labels.weight
    for task, asked in _by_task(labels, given, source).items():
        k = labels.names.index(task)
        rows = labels.rows(k, train)
        column = slice(None) if labels.task is not None else (slice(None), k)
        y, own = labels.y[column], weight[column]
        present = [int(code) for code in np.unique(y[rows])]
        titles = names.get(task, ())
        title = {c: titles[c] if titles else str(c) for c in present}
        if asked == BALANCED:
            of_class = [own[rows & (y == code)].sum() for code in present]
            numbers = [sum(of_class) / (len(present) * total) for total in of_class]
        else:
            numbers = _numbers(asked, title, titles, task, source)
        factor = np.ones(own.shape)
        for code, number in zip(present, numbers, strict=True):
            factor[y == code] = number
        of_task = labels.rows(k, np.ones(len(rows), bool))
        weight = np.array(weight, float)
        weight[column] = np.where(of_task, own * factor, own)
        pairs = zip(title.values(), map(float, numbers), strict=True)
        found[task] = dict(pairs)
    return dataclasses.replace(labels, weight=weight), found


def _by_task(labels: Labels, given: Any, source: str | pathlib.Path) -> dict[str, Any]:
    """What was said of each task."""
    of_classes = [
        task
        for task, kind in zip(labels.names, labels.kinds, strict=True)
        if kind in (*CLASSES_OF, "binary") or getattr(own_kind(kind), "integers", False)
    ]
    if given == BALANCED:
        if not of_classes:
            raise UserError(
                f"{source}: class_weights='{BALANCED}', and the labels of no task are "
                "classes: expected it to be left out"
            )
        return dict.fromkeys(of_classes, BALANCED)
    if not isinstance(given, Mapping):
        raise UserError(
            f"{source}: class_weights is {given!r}: expected '{BALANCED}', or a dict "
            "of the weights of some tasks' classes"
        )
    for task, asked in given.items():
        if task not in of_classes:
            known = task in labels.names
            what = "its labels are numbers" if known else nearest(task, of_classes)
            raise UserError(f"{source}: class_weights names the task {task!r}: {what}")
        if asked != BALANCED and not isinstance(asked, Mapping):
            raise UserError(
                f"{source}: class_weights of task {task!r} is {asked!r}: expected "
                f"'{BALANCED}', or a number for each class"
            )
    return dict(given)


def _numbers(
    asked: Mapping[Any, Any],
    present: Mapping[int, str],
    titles: Sequence[str],
    task: str,
    source: str | pathlib.Path,
) -> list[float]:
    """The given weights of the classes that training labels have, in their order."""
    given = {str(name): number for name, number in asked.items()}
    of_task = f"{source}: class_weights of task {task!r}"
    known = list(titles) or list(present.values())
    for name, number in given.items():
        if name not in known:
            raise UserError(
                f"{of_task} name the class {name!r}: {nearest(name, known)}"
            )
        good = isinstance(number, int | float) and not isinstance(number, bool)
        if not good or not 0 < number < math.inf:
            raise UserError(
                f"{of_task} have {number!r} for class {name!r}: expected a number "
                "above 0"
            )
    if missing := [name for name in present.values() if name not in given]:
        raise UserError(
            f"{of_task} lack the class {missing[0]!r}: expected a number for each of "
            f"{', '.join(map(repr, known))}"
        )
    return [float(given[name]) for name in present.values()]
