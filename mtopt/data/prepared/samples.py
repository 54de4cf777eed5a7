"""Records of prepared sets as samples: inputs, labels by kind, and which are real."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Num

from mtopt.data.prepared.choice import TaskFeature, is_image
from mtopt.data.prepared.found import PreparedSet
from mtopt.data.prepared.pictures import resized
from mtopt.data.tables.npz_kinds import CLASSES_OF, check_range
from mtopt.data.tables.scaling import target_moments
from mtopt.errors import UserError

AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What of a prepared set is read.

    Args:
      inputs: nested names of the features that are inputs; several make a dict.
      size: what images are brought to, (height, width); None: they have one size.
      groups: the tasks of each kind, sorted by name.
      combine: what makes one array of several inputs, by name, in place of the dict.
    """

    inputs: tuple[str, ...]
    size: tuple[int, int] | None
    groups: tuple[tuple[TaskFeature, ...], ...]
    combine: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None

    @classmethod
    def of(
        cls,
        inputs: tuple[str, ...],
        size: tuple[int, int] | None,
        tasks: Sequence[TaskFeature],
    ) -> "Chosen":
        """With the tasks by kind, in the order of the first of each.

        Args:
          inputs: as of the class.
          size: likewise.
          tasks: sorted by name.
        """
        kinds = dict.fromkeys(each.kind for each in tasks)
        return cls(
            inputs,
            size,
            tuple(tuple(t for t in tasks if t.kind == kind) for kind in kinds),
        )

    @property
    def tasks(self) -> tuple[TaskFeature, ...]:
        """All of them."""
        return tuple(task for group in self.groups for task in group)

    @property
    def names(self) -> set[str]:
        """The features that are read."""
        return {*self.inputs, *(task.feature for task in self.tasks)}


@dataclasses.dataclass(frozen=True)
class Scale:
    """What is known of a task by its training labels.

    Args:
      mean: what numbers are shifted by; 0 of classes.
      std: what they are divided by; 1 of classes.
      outputs: the classes or levels there are; 1 of all else.
    """

    mean: float = 0.0
    std: float = 1.0
    outputs: int = 1


@dataclasses.dataclass(frozen=True)
class Part:
    """Some records of a set.

    Args:
      found: the set.
      split: the name of its split that they stand in.
      rows: their numbers there.
    """

    found: PreparedSet
    split: str
    rows: Int[np.ndarray, " n"]

    def labels(self, tasks: Sequence[TaskFeature]) -> dict[str, Num[np.ndarray, " m"]]:
        """The labels of some tasks that are not missing, by name; no input is decoded.

        Args:
          tasks: whose.
        """
        if not tasks:
            return {}
        read: dict[str, list[Any]] = {task.task: [] for task in tasks}
        records = self.found.records(self.split, [task.feature for task in tasks])
        for start in range(0, len(self.rows), AT_ONCE):
            index = self.rows[start : start + AT_ONCE].tolist()
            for record in records.__getitems__(index):
                for task in tasks:
                    label, real = _label(record, task)
                    if real:
                        read[task.task].append(label)
        return {name: np.array(labels) for name, labels in read.items()}


def scales(parts: Mapping[str, Part], tasks: Sequence[TaskFeature]) -> dict[str, Scale]:
    """What labels say of each task, by name: moments of training, classes of all parts.

    Args:
      parts: of the set, by title.
      tasks: of it.

    Raises:
      UserError: for a task without a training label, or labels that are no classes.
    """
    numbers = [task for task in tasks if task.kind == "regression"]
    classes = [task for task in tasks if task.scanned and task not in numbers]
    found = {
        t.task: Scale(outputs=len(t.classes) if t.kind in CLASSES_OF else 1)
        for t in tasks
    }
    train = parts["train"].labels([*numbers, *classes])
    for task in [*numbers, *classes]:
        if not len(train[task.task]):
            raise UserError(
                f"{parts['train'].found.name}: no training label of {task.task}: "
                "expected some; leave the task out (tasks=...)"
            )
    if numbers:
        moments = target_moments([train[task.task] for task in numbers])
        for task, mean, std in zip(numbers, *moments, strict=True):
            found[task.task] = Scale(float(mean), float(std))
    later = [part.labels(classes) for t, part in parts.items() if t != "train"]
    for task in classes:
        own = np.concatenate([each[task.task] for each in (train, *later)])
        check_range(own, task.kind, parts["train"].found.path / task.feature)
        many = task.kind in CLASSES_OF
        found[task.task] = Scale(outputs=int(own.max()) + 1 if many else 1)
    return found


class PreparedSource:
    """The samples of a part in any order, as :class:`mtopt.data.StreamSplit` reads.

    Args:
      part: of a set.
      chosen: what of it is read.
      scaling: task to what its numbers lose.
      alone: True for a task whose samples are its own: labels have no task axis.
    """

    def __init__(
        self,
        part: Part,
        chosen: Chosen,
        scaling: Mapping[str, Scale],
        *,
        alone: bool = False,
    ) -> None:
        self.part = part
        self.chosen = chosen
        self.scaling = scaling
        self.alone = alone
        self._records = part.found.records(part.split, chosen.names)

    def __len__(self) -> int:
        return len(self.part.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        (sample,) = self.__getitems__([index])
        return sample

    def __getitems__(self, index: Sequence[int]) -> list[dict[str, Any]]:
        rows = self.part.rows[[*index]].tolist()
        return [self._sample(record) for record in self._records.__getitems__(rows)]

    def _sample(self, record: Mapping[str, Any]) -> dict[str, Any]:
        x = read_inputs(record, self.part, self.chosen)
        groups = [self._labels(record, group) for group in self.chosen.groups]
        y, mask = zip(*groups, strict=True)
        if len(groups) == 1:
            y, mask = y[0], mask[0]
            if self.alone:
                y, mask = y[0], mask[0]
        return {"x": x, "y": y, "mask": mask}

    def _labels(
        self, record: Mapping[str, Any], group: Sequence[TaskFeature]
    ) -> tuple[Num[np.ndarray, " K"], Bool[np.ndarray, " K"]]:
        """The labels of the tasks of one kind, and which of them are real."""
        y, mask = zip(*(_label(record, task) for task in group), strict=True)
        real = np.array(mask)
        if group[0].kind != "regression":
            return np.where(real, y, 0).astype(np.int32), real
        scale = [self.scaling[task.task] for task in group]
        mean, std = (np.array([getattr(s, f) for s in scale]) for f in ("mean", "std"))
        return (np.where(real, (y - mean) / std, 0)).astype(np.float32), real


def read_inputs(record: Mapping[str, Any], part: Part, chosen: Chosen) -> Any:
    """The inputs of a record: an array, or several by name.

    Args:
      record: of a part.
      part: of the set.
      chosen: what of it is read.
    """
    own = {}
    for name in chosen.inputs:
        value = np.asarray(record[name])
        if chosen.size is not None and is_image(part.found.features[name]):
            value = resized(value, chosen.size)
        narrow = {"f8": "f4", "i8": "i4", "u8": "u4"}.get(value.dtype.str[1:])
        own[name] = value if narrow is None else value.astype(narrow)
    if chosen.combine is not None:
        return chosen.combine(own)
    return own if len(own) > 1 else own[chosen.inputs[0]]


def _label(record: Mapping[str, Any], task: TaskFeature) -> tuple[Any, bool]:
    """A label in its unit, and whether it is real: -1 of classes and NaN are not."""
    label = np.asarray(record[task.feature])
    if task.kind == "regression":
        number = float(label) * task.unit
        return number, bool(np.isfinite(number))
    return int(label), int(label) != -1
