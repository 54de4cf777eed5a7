"""A trained model on raw inputs: predictions by task, in the units of the data."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Int

from mtopt.data.dataset import Dataset, Split
from mtopt.data.encoding import Encoding, EncodingOfTasks
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError, nearest
from mtopt.metrics import metrics_of
from mtopt.models.links import label_of, probabilities_of
from mtopt.pixels import PIXELS
from mtopt.trained.description import ModelDescription
from mtopt.trained.export import write_program
from mtopt.trained.labels import read_labels
from mtopt.trained.part import Part
from mtopt.training.evaluate import Scores, evaluate, samples_at_once
from mtopt.training.parameters import write_parameters


class TrainedModel:
    """A model that takes raw inputs, such as the rows of a table that it learned from.

    :func:`mtopt.load` makes one of a run.

    Args:
      description: what the model is of.
      params: its parameters, a plain tree; one with the parts of each group, a tuple,
        where every task has a model of its own.
      model_state: its state.
      together: ``(params, model_state, x) -> outputs [K, B, ...]``, one a group, as in
        training; compiled.
      parts: the tasks of each group.

    Attributes:
      params: as above.
      model_state: as above.
      tasks: the names of all tasks, sorted.

    Example:
      A model of digits as it starts, before any training:

      >>> from mtopt.data import multi_digits
      >>> data = multi_digits(num_train=8, num_valid=4, num_test=4)
      >>> described = ModelDescription.of("mlp(hidden=(8,))", data)
      >>> plain = described.model()
      >>> params, state = jax.jit(plain.init)(jax.random.key(0))
      >>> predict = jax.jit(plain.predict)
      >>> part = Part(described.groups[0], predict, params, state)
      >>> model = TrainedModel(described, params, state, predict, [part])
      >>> images = np.zeros((3, 10, 10, 1), np.float32)
      >>> model.predict(images)["left"].shape
      (3,)
      >>> model.predict_proba(images)["right"].shape
      (3, 10)
    """

    def __init__(
        self,
        description: ModelDescription,
        params: Any,
        model_state: Any,
        together: Callable[[Any, Any, Any], Any],
        parts: Sequence[Part],
    ) -> None:
        self.description = description
        self.params = params
        self.model_state = model_state
        self._together = together
        self._parts: tuple[Part, ...] = tuple(parts)
        self.tasks = tuple(sorted(t for part in parts for t in part.group.tasks))

    @property
    def shared(self) -> bool:
        """Whether all tasks are predicted from the same inputs."""
        first, *others = self._parts
        together = self.description.shared_inputs or not others
        return together and first.group.x_axis is None

    @property
    def encoding(self) -> Encoding:
        """What makes inputs of raw ones, of the first group of tasks."""
        return self._parts[0].group.encoding

    def rows_of(self, raw: Any) -> dict[str, Int[np.ndarray, " n"]]:
        """Which rows are of which task, of a model whose tasks have their own.

        Args:
          raw: as of :meth:`predict`, with the task of each row.

        Raises:
          UserError: where it does not say.
        """
        if not isinstance(self.encoding, EncodingOfTasks):
            raise UserError(
                f"inputs are a {type(raw).__name__}: expected a dict by task, whose "
                "inputs are their own"
            )
        if any(part.group.encoding != self.encoding for part in self._parts):
            raise UserError(
                "tasks are from sources whose inputs differ: expected a dict of inputs "
                "by task"
            )
        every = self.encoding.tasks_of(raw)
        found = {task: rows for task, rows in every.items() if task in self.tasks}
        dropped = sorted({*every} - {*found})
        if dropped and not found:
            raise UserError(
                f"no task {dropped[0]!r} in the model, which was trained without it: "
                "expected rows of those that it has"
            )
        if dropped:
            logging.warning(
                "the model was trained without %d tasks of the new rows, such as %r: "
                "nothing is predicted for them",
                len(dropped),
                dropped[0],
            )
        return found

    def predict(self, raw: Any) -> dict[str, np.ndarray]:
        """What is predicted for each task.

        Args:
          raw: inputs of N samples as the data set's loader took them, before any
            scaling: rows of a ``pandas.DataFrame``, arrays of an ``.npz`` file or the
            file, images. Where tasks have inputs of their own: a dict of them by task,
            or a frame with the column that names the task of each row.

        Returns:
          Task to predictions, ``[N]``: numbers in the units of the data, names of
          classes where the data have names, and else their numbers; levels; 0 or 1 of
          each label column, ``[N, L]``; 1 where the first of a pair wins; of pixels
          the numbers of their classes or depths ``[N, h, w]``, normals
          ``[N, h, w, 3]``. Tasks for which ``raw`` has no inputs are left out.

        Raises:
          UserError: for inputs that are not such as the model was trained on.
        """
        found = {}
        for part, task, outputs in self._outputs(raw):
            labels = label_of(part.group.kind)(outputs)
            if task in part.group.classes and part.group.kind not in PIXELS:
                names = part.group.class_names(part.group.tasks.index(task))
                labels = np.array(names)[labels]
            found[task] = labels
        return dict(sorted(found.items()))

    def predict_proba(self, raw: Any) -> dict[str, np.ndarray]:
        """The probabilities of each task's classes.

        Args:
          raw: as of :meth:`predict`.

        Returns:
          Task to probabilities: of each class or level, ``[N, C]``, of 0 and 1 for
          binary tasks, of each label column for multi-label ones ``[N, L]``, of the
          second and the first of a pair. Tasks whose labels are numbers have none.

        Raises:
          UserError: as :meth:`predict`.
        """
        found = {
            task: np.asarray(_compiled(probabilities)(outputs))
            for part, task, outputs in self._outputs(raw)
            if (probabilities := probabilities_of(part.group.kind)) is not None
        }
        return dict(sorted(found.items()))

    def class_names(self, task: str) -> tuple[str, ...]:
        """What the columns of :meth:`predict_proba` are of, for one task.

        Raises:
          UserError: for an unknown task.
        """
        if task not in self.tasks:
            raise UserError(f"no task {task!r}: {nearest(task, self.tasks)}")
        group = next(p.group for p in self._parts if task in p.group.tasks)
        if probabilities_of(group.kind) is None:
            return ()
        return group.class_names(group.tasks.index(task))

    def outputs(self, raw: Any) -> dict[str, np.ndarray]:
        """What the heads compute: logits, and numbers in the units of the data.

        Args:
          raw: as of :meth:`predict`.

        Returns:
          Task to outputs, as :func:`mtopt.models.heads.predictions` has them: float32,
          and float64 of numbers.
        """
        return dict(sorted((t, outputs) for _, t, outputs in self._outputs(raw)))

    def score(
        self, raw: Any, labels: Mapping[str, Any] | None = None
    ) -> dict[str, dict[str, float]]:
        """The metrics of each task, on samples with labels.

        Args:
          raw: as of :meth:`predict`.
          labels: task to labels as the data have them, ``[N, ...]``: numbers, names of
            classes; None, NaN and other empty cells are missing. Where it is not given,
            the columns of labels of the frame ``raw``.

        Returns:
          Task to metric to value, errors in the units of the data; NaN where one is
          undefined.

        Raises:
          UserError: as :meth:`predict`; for a class that training had not, or labels
            that are neither given nor in the frame.
        """
        if labels is None:
            labels = self._labels_in(raw)
        elif not isinstance(labels, Mapping):
            raise UserError(
                f"labels are a {type(labels).__name__}: expected a dict of them by task"
            )
        elif unknown := [task for task in labels if task not in self.tasks]:
            raise UserError(
                f"labels of {unknown[0]!r}: {nearest(str(unknown[0]), self.tasks)}"
            )
        found = {}
        for part, task, outputs in self._outputs(raw):
            if task not in labels:
                continue
            target, mask = read_labels(part.group, task, labels[task])
            found[task] = {
                metric.name: metric.value(outputs, target, mask)
                for metric in metrics_of(part.group.kind)
            }
        return dict(sorted(found.items()))

    def evaluate(self, dataset: Dataset | JointDataset, split: Split) -> Scores:
        """The metrics of each task on a part of the data set that it was trained on.

        Args:
          dataset: names the kinds of the labels, and the units of their targets.
          split: one of its parts.
        """

        def predict(x: Any) -> Any:
            found = self._together(self.params, self.model_state, x)
            return jax.tree.map(lambda outputs: outputs[None], found)

        return evaluate(predict, dataset, split)

    def save(self, path: str | pathlib.Path) -> None:
        """Writes parameters and model state as a ``.safetensors`` file.

        Args:
          path: the file; arrays stand under their paths, ``params/shared/...``, those
            of equal heads on a leading axis of tasks, whose names are in the head.
        """
        path = pathlib.Path(path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"tasks": "\n".join(self.tasks), "model": self.description.text}
        tree = {"params": self.params, "model_state": self.model_state}
        write_parameters(path, tree, about)

    def export(
        self, path: str | pathlib.Path, *, platforms: Sequence[str] | None = None
    ) -> None:
        """Writes what follows the encoding as a program of its own, by ``jax.export``.

        ``jax.export.deserialize(path.read_bytes()).call(x)`` runs it, where jax is
        installed and mtopt is not: a dict of each task's probabilities, as of
        :meth:`predict_proba`, or of its numbers, as of :meth:`predict`. Parameters are
        in it.

        Args:
          path: the file.
          platforms: what it is compiled for there, such as ``("cpu", "cuda")``; the
            platform at hand unless given.

        Raises:
          UserError: for a model whose inputs are several arrays.
        """
        path = pathlib.Path(path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_program(path, self._parts, shared=self.shared, platforms=platforms)

    def _labels_in(self, raw: Any) -> dict[str, Any]:
        """The labels of each task beside the inputs."""
        if not isinstance(self.encoding, EncodingOfTasks):
            raise UserError("no labels: expected labels=..., a dict of them by task")
        return self.encoding.targets_of(raw)

    def _outputs(self, raw: Any) -> Iterator[tuple[Part, str, np.ndarray]]:
        """The outputs of every task that has inputs."""
        if self.shared:
            of_all = _in_batches(self._groups, self.encoding(raw))
            for part, outputs in zip(self._parts, of_all, strict=True):
                for k, task in enumerate(part.group.tasks):
                    yield part, task, part.in_units(k, outputs[k])
            return
        own = self._by_task(raw)
        for part in self._parts:
            mine = {task: own[task] for task in part.group.tasks if task in own}
            for task, outputs in self._of_tasks(part, mine):
                k = part.group.tasks.index(task)
                yield part, task, part.in_units(k, outputs)

    def _by_task(self, raw: Any) -> Mapping[str, Any]:
        """Encoded inputs by task."""
        encodings = {t: p.group.encoding for p in self._parts for t in p.group.tasks}
        if not isinstance(raw, Mapping) or not {*raw} & {*encodings}:
            x, rows = self.encoding(raw), self.rows_of(raw)
            return {task: x[own] for task, own in rows.items()}
        for task in raw:
            if task not in encodings:
                raise UserError(f"no task {task!r}: {nearest(str(task), self.tasks)}")
        return {task: encodings[task](own) for task, own in raw.items()}

    def _groups(self, x: Any) -> tuple[Any, ...]:
        """The outputs of each group, all in one program."""
        found = self._together(self.params, self.model_state, x)
        return found if isinstance(found, tuple) else (found,)

    def _of_tasks(
        self, part: Part, own: Mapping[str, Any]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Outputs ``[n, ...]`` of inputs of each task's own."""
        tasks = part.group.tasks
        if part.group.x_axis is None:
            for task, x in own.items():
                (outputs,) = _in_batches(lambda batch: (part(batch),), x)
                yield task, outputs[tasks.index(task)]
            return
        if not own:
            return
        longest = max(map(len, own.values()))
        some = next(iter(own.values()))
        most = samples_at_once(some)
        size = _size(longest, most)
        found = []
        for start in range(0, max(longest, 1), most):
            cut = [own.get(task, some[:0])[start : start + most] for task in tasks]
            batch = np.stack([_padded(x, size) for x in cut])
            found.append(np.asarray(part(batch)))
        outputs = np.concatenate(found, axis=1)
        for task, x in own.items():
            yield task, outputs[tasks.index(task), : len(x)]


@functools.cache
def _compiled(function: Callable[[Any], Array]) -> Callable[[Any], Array]:
    # By the function: of a kind of the user's own it is another when that is reloaded.
    return jax.jit(function)


def _in_batches(
    predict: Callable[[Any], tuple[Any, ...]], x: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Outputs ``[K, N, ...]`` of each group, of samples that go in batches."""
    most = samples_at_once(x)
    found = [
        jax.device_get(predict(_padded(x[start : start + most], _size(len(x), most))))
        for start in range(0, max(len(x), 1), most)
    ]
    of_groups = zip(*found, strict=True)
    return tuple(np.concatenate(own, axis=1)[:, : len(x)] for own in of_groups)


def _size(samples: int, most: int) -> int:
    """A power of two that holds them: a program for each number would be compiled."""
    return min(most, 1 << max(samples - 1, 0).bit_length())


def _padded(x: np.ndarray, size: int) -> Any:
    return jnp.asarray(np.pad(x, [(0, size - len(x)), *[(0, 0)] * (x.ndim - 1)]))
