"""Whether a model and a data set are of the same tasks, before either is used."""

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.per_task import in_words
from mtopt.tasks import TaskGroups, Tasks

SAME_LABELS = ("classification", "ordinal", "ordinal_adjacent")
"""Kinds whose labels are numbers of classes or levels: a model of one fits another."""


def check_fits(tasks: Tasks | TaskGroups, dataset: Dataset | JointDataset) -> None:
    """Raises unless a model can be trained on a data set.

    Args:
      tasks: of the model.
      dataset: what it is to be trained on.

    Raises:
      UserError: for other groups of tasks, other inputs, or labels of another kind.
    """
    groups = tasks.groups if isinstance(tasks, TaskGroups) else (tasks,)
    names = tuple(group.names for group in groups)
    expected = tuple(group.tasks for group in dataset.groups)
    if names != expected:
        raise UserError(
            f"the model is of the tasks {_by_group(names)}, {dataset.name!r} of "
            f"{_by_group(expected)}: expected the same; mtopt.models.join makes a "
            "model of one for each of dataset.groups"
        )
    if isinstance(tasks, TaskGroups) and isinstance(dataset, JointDataset):
        _check_equal(
            "shared_inputs", tasks.shared_inputs, dataset.shared_inputs, dataset.name
        )
    for model, group in zip(groups, dataset.groups, strict=True):
        _check_equal("x_axis", model.x_axis, group.x_axis, group.name)
        if model.kind is not None and _labels(model.kind) != _labels(group.kind):
            _check_equal("kind", model.kind, group.kind, group.name)


def _labels(kind: str) -> str:
    return SAME_LABELS[0] if kind in SAME_LABELS else kind


def _by_group(names: tuple[tuple[str, ...], ...]) -> str:
    return " and ".join(map(in_words, names))


def _check_equal(field: str, found: object, expected: object, name: str) -> None:
    if found != expected:
        raise UserError(
            f"the model has {field}={found!r}, {name!r} has {field}={expected!r}: "
            "expected the same"
        )
