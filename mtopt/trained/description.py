"""What a model is of, beside its parameters: enough to build it, and to read it."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.encoding import Encoding
from mtopt.data.encodings import encoding_from_json, encoding_of, encoding_to_json
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.grammar import CallText
from mtopt.models import MODELS, JointModel, Model, some_tasks
from mtopt.models import join as join_models
from mtopt.models.ordinal import ORDINAL

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class GroupDescription:
    """Tasks of one kind, their inputs, and what their predictions are in.

    Args:
      tasks: their names, sorted.
      kind: what the labels are.
      outputs: the size of a head's output.
      x_axis: None for shared inputs, 0 for disjoint ones.
      shape: of an input, without the batch axis.
      x_dtype: its type.
      encoding: what makes inputs of raw ones.
      target_mean: of each task's training targets; none but of regressions.
      target_std: likewise.
      classes: task to the names of its classes, where they have names.
    """

    tasks: tuple[str, ...]
    kind: str
    outputs: int
    x_axis: int | None
    shape: tuple[int, ...]
    x_dtype: str
    encoding: Encoding
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> "GroupDescription":
        """That of a data set of one kind."""
        x = next(dataset.train.in_order(1)).x
        lead = 1 if dataset.x_axis is None else 2
        mean, std = (
            () if each is None else tuple(np.asarray(each, np.float64).tolist())
            for each in (dataset.target_mean, dataset.target_std)
        )
        classes = dataset.reading.get("classes", {})
        return cls(
            dataset.tasks,
            dataset.kind,
            dataset.outputs,
            dataset.x_axis,
            tuple(np.shape(x)[lead:]),
            str(getattr(x, "dtype", "")),
            encoding_of(dataset),
            mean,
            std,
            {task: tuple(names) for task, names in classes.items()},
        )

    def of_task(self, k: int, outputs: Any) -> Any:
        """What a head gives of its own task's classes.

        The heads of a group are all as wide as that of the task with the most classes.

        Args:
          k: the number of the task.
          outputs: of it, ``[B, ...]``.

        Example:
          >>> from mtopt.data.encoding import AsTheyAre
          >>> group = GroupDescription(
          ...     ("few",), "classification", 4, None, (1,), "int8",
          ...     AsTheyAre("int8", (1,)), classes={"few": ("a", "b")})
          >>> group.of_task(0, np.ones((5, 4))).shape
          (5, 2)
        """
        names = self.classes.get(self.tasks[k], ())
        if not names or self.kind not in ("classification", *ORDINAL):
            return outputs
        # Levels have a logit for each step from one to the next.
        return outputs[..., : max(len(names) - (self.kind in ORDINAL), 1)]

    def class_names(self, k: int) -> tuple[str, ...]:
        """The names of a task's classes; numbers for those that no label has shown.

        Args:
          k: the number of the task.
        """
        names = self.classes.get(self.tasks[k], ())
        if names and self.kind in ("classification", "segmentation", *ORDINAL):
            return names
        count = 2 if self.kind in ("binary", "preference") else self.outputs
        return (*names, *map(str, range(len(names), count)))

    def model(
        self,
        text: str,
        dtype: str,
        *,
        names: tuple[str, ...] | None = None,
        remat: bool = False,
    ) -> Model:
        """The model of these tasks.

        Args:
          text: as of :class:`ModelDescription`.
          dtype: likewise.
          names: of the tasks, in place of their own.
          remat: as of :class:`mtopt.Tasks`.

        Raises:
          UserError: for an unknown model, or one that does not fit the data.
        """
        given: dict[str, Any] = {
            "names": names or self.tasks,
            "kind": self.kind,
            "outputs": self.outputs,
            "x_axis": self.x_axis,
            "dtype": DTYPES[dtype],
        }
        call = CallText.parse("model", text, MODELS, arguments=1, given=(*given,))
        try:
            inspect.signature(call.function).bind(self.shape, **given, **call.options)
        except TypeError as error:
            raise UserError(
                f"model {call.name!r}: {error}: expected a function like those of "
                f"mtopt.models.MODELS, (input_shape, *, {', '.join(given)}, ...)"
            ) from error
        model = call.build(self.shape, **given)
        if not isinstance(model, Model):
            raise UserError(
                f"model {call.name!r} made a {type(model).__name__}: expected a "
                "mtopt.models.Model, as mtopt.models.functional makes"
            )
        tasks = dataclasses.replace(model.tasks, remat=remat)
        return dataclasses.replace(model, tasks=tasks)


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """A model of all tasks of a data set, as plain values.

    Args:
      text: the model, as ``name(option=value)`` of :data:`mtopt.models.MODELS`.
      dtype: of its arithmetic, a key of ``DTYPES``.
      shared_inputs: whether groups of several kinds read one input.
      groups: the tasks, by kind and source.
    """

    text: str
    dtype: str
    shared_inputs: bool
    groups: tuple[GroupDescription, ...]

    @classmethod
    def of(
        cls, text: str, dataset: Dataset | JointDataset, dtype: str = "float32"
    ) -> "ModelDescription":
        """That of a model for a data set.

        Example:
          >>> from mtopt.data import multi_digits
          >>> described = ModelDescription.of("mlp", multi_digits())
          >>> group, = described.groups
          >>> group.tasks, group.kind, group.shape
          (('left', 'right'), 'classification', (10, 10, 1))
          >>> ModelDescription.from_json(described.to_json()) == described
          True
        """
        joint = isinstance(dataset, JointDataset)
        groups = tuple(map(GroupDescription.of, dataset.groups))
        return cls(text, dtype, joint and dataset.shared_inputs, groups)

    def model(self, *, remat: bool = False) -> Model | JointModel:
        """The model; heads for each group where there are several.

        Args:
          remat: as of :class:`mtopt.Tasks`.

        Raises:
          UserError: for an unknown model, or one that does not fit the data.
        """
        of_all = self.text, self.dtype
        names = tuple(sorted(task for group in self.groups for task in group.tasks))
        # Of all tasks, in which those of each group have their places.
        whole = [g.model(*of_all, names=names, remat=remat) for g in self.groups]
        if len(whole) == 1:
            return whole[0]
        own = zip(whole, self.groups, strict=True)
        each = [some_tasks(model, group.tasks) for model, group in own]
        return join_models(each, shared_inputs=self.shared_inputs)

    def to_json(self) -> dict[str, Any]:
        """Itself as JSON values."""
        groups = [
            {**vars(group), "encoding": encoding_to_json(group.encoding)}
            for group in self.groups
        ]
        return {**vars(self), "groups": groups}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelDescription":
        """The description that :meth:`to_json` was called of."""
        return cls(**{**values, "groups": tuple(map(_group, values["groups"]))})


def _group(values: Mapping[str, Any]) -> GroupDescription:
    lists = ("tasks", "shape", "target_mean", "target_std")
    return GroupDescription(
        **{
            **values,
            **{name: tuple(values[name]) for name in lists},
            "encoding": encoding_from_json(values["encoding"]),
            "classes": {task: tuple(n) for task, n in values["classes"].items()},
        }
    )
