"""The encoder of tasks of equal structure on one batch: for one task, and for all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mtopt.batch import Batch, is_real
from mtopt.constants import whole
from mtopt.own_statistics import check_states
from mtopt.passes import over_tasks
from mtopt.per_task import task_keys
from mtopt.task import Task


class TaskEncoder(NamedTuple):
    """``encode`` of :class:`mtopt.Tasks`, and what it gets of a batch.

    Attributes:
      tasks: the model.
      batch: inputs, labels and mask.
      key: the randomness of the step.
      common_key: what all tasks of one input draw from.
      model_state: BatchNorm statistics and their like.
      seen: which samples have a label in any group, where groups share the inputs.
      constants: shared parameters that are not trained.
    """

    tasks: Any
    batch: Batch
    key: Any
    common_key: Any
    model_state: Any
    seen: Any
    constants: Any

    def one(
        self,
        shared: Any,
        x: Any,
        key: Any,
        model_state: Any,
        labelled: Bool[Array, " b"],
        task: Task | None,
    ) -> tuple[Any, Any]:
        """The representation and state of one task, of its entry of :attr:`arguments`.

        Args:
          shared: the shared parameters.
          x: its inputs; where tasks are coupled, its place.
          key: its randomness.
          model_state: its state.
          labelled: which samples have a label.
          task: which one it is, where the encoder is told.
        """
        shared = whole(shared, self.constants)
        if self.tasks.coupled:
            of_all, state = self._coupled(shared)
            return jax.tree.map(lambda leaf: leaf[x], of_all), state
        told = (task,) if self.tasks.per_task else ()
        if self.tasks.stateful:
            seen = model_state, labelled
            return self.tasks.run_encoder(shared, x, key, *seen, *told)
        return self.tasks.run_encoder(shared, x, key, *told), model_state

    def all(
        self, shared: Any, own: Any = None, shared_axis: int | None = None
    ) -> tuple[Any, Any]:
        """The representation and state of all tasks; once, where it is one.

        Args:
          shared: the shared parameters.
          own: those of the tasks, ``[K, ...]``, where the encoder is told of them.
          shared_axis: as of :meth:`mtopt.Problem.losses`.
        """
        if self.tasks.coupled and shared_axis is None:
            return self._coupled(whole(shared, self.constants))
        if self.tasks.z_axis is None and shared_axis is None:
            return self.one(shared, *self.arguments, None)
        in_axes = (shared_axis, *self.in_axes)
        if not self.tasks.per_task:
            on_tasks = over_tasks(self.one, (*in_axes, None))
            return on_tasks(shared, *self.arguments, None)
        task = Task(self.indices, own)
        on_tasks = over_tasks(self.one, (*in_axes, 0))
        return on_tasks(shared, *self.arguments, task)

    @property
    def arguments(self) -> tuple[Any, Any, Any, Any]:
        """What :meth:`one` gets behind the shared parameters, of all tasks."""
        return self._inputs, self._keys, self._states, self._labelled

    @property
    def in_axes(self) -> Sequence[int | None]:
        """Where the task axis is in each of :attr:`arguments`; None: in common."""
        x_axis = self.tasks.x_axis
        states = None if self.tasks.coupled else self.tasks.z_axis
        return x_axis, x_axis, states, x_axis

    @property
    def indices(self) -> Array:
        """The places of the tasks on axis K."""
        return jnp.arange(len(self.tasks.names))

    def _coupled(self, shared: Any) -> tuple[Any, Any]:
        labelled = is_real(self.batch.mask)
        seen = self.batch.x, self.common_key, self.model_state, labelled
        return self.tasks.run_encoder(shared, *seen)

    @property
    def _inputs(self) -> Any:
        return self.indices if self.tasks.coupled else self.batch.x

    @property
    def _keys(self) -> Any:
        if self.tasks.x_axis is None:
            return self.common_key
        return task_keys(jax.random.fold_in(self.key, 0), self.tasks.names)

    @property
    def _states(self) -> Any:
        """The model state; of every task, where the encoder is one for each."""
        if self.tasks.z_axis is not None and not self.tasks.coupled:
            check_states(self.model_state, len(self.tasks.names))
        return self.model_state

    @property
    def _labelled(self) -> Bool[Array, "*K b"]:
        """Which samples of an input have a label; all, where none has."""
        mask = is_real(self.batch.mask)
        own = mask if self.tasks.x_axis is not None else mask.any(axis=0)
        seen = own if self.seen is None else self.seen
        return seen | ~seen.any(axis=-1, keepdims=True)
