"""One training step on several devices: which of them has which samples and tasks."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mtopt.batch import Batch
from mtopt.columns import column_axis
from mtopt.errors import UserError, expect, expect_one_of
from mtopt.per_task import is_stack
from mtopt.step import TrainState
from mtopt.tasks import TaskGroups, Tasks

PARAMETERS = ("copied", "sharded")
ALL = ("data", "task")


@dataclasses.dataclass(frozen=True)
class Devices:
    r"""A grid of devices, ``data`` by ``task``, that one step runs on.

    No method knows of devices. Every device passes its share of the batch through the
    model. Of what a method makes of the K gradients, inner products, sums and sorts,
    each makes its share of the columns, and :math:`K \times K` numbers are added up
    between them; see the page on scaling for what is sent.

    Inputs that all tasks share go to all devices of the grid by samples, since a pass
    through the encoder serves all tasks. Where every task has its own, the axis
    ``task`` deals out tasks and ``data`` the samples of each.

    Args:
      tasks: the model.
      data: devices along the axis of the samples, 1 or more.
      task: devices along the axis of the tasks, 1 or more.
      parameters: ``"copied"``: every device has all shared parameters, and what the
        optimizer remembers of them. ``"sharded"``: every device has its share of each
        matrix, and fetches the others' when a pass needs them.
      devices: which ones, ``data * task`` of them; the first ones that JAX has unless
        given.

    Raises:
      UserError: where there are fewer devices; in the first step, where the samples or
        tasks of a batch cannot be dealt out equally.

    Example:
      >>> import jax.numpy as jnp, mtopt, optax
      >>> def encode(shared, x, key):
      ...     return x @ shared
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
      >>> params = {"shared": jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(jnp.ones((2, 4)), tasks.names)}
      >>> tx = mtopt.chain(mtopt.mgda(2), optax.sgd(0.05))
      >>> devices = mtopt.Devices(tasks, data=1)
      >>> step = jax.jit(devices.run(mtopt.make_train_step(tasks, tx)))
      >>> state = devices.place_state(
      ...     mtopt.TrainState.create(params, tx, jax.random.key(0)))
      >>> batch = devices.place_batch(mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])}))
      >>> state, metrics = step(state, batch)
      >>> metrics["losses"].tolist()
      [9.0, 4.666666507720947]
    """

    tasks: Tasks | TaskGroups
    data: int = 1
    task: int = 1
    parameters: str = "copied"
    devices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        expect(self.data >= 1, "data", self.data, "at least 1")
        expect(self.task >= 1, "task", self.task, "at least 1")
        expect_one_of("parameters", self.parameters, PARAMETERS)
        known = jax.devices() if self.devices is None else self.devices
        if self.count > len(known):
            raise UserError(
                f"data={self.data}, task={self.task} on {len(known)} devices "
                f"({known[0].platform}): expected at most {len(known)} in all"
            )

    @property
    def count(self) -> int:
        """How many devices the grid has."""
        return self.data * self.task

    @property
    def sample_parts(self) -> int:
        """How many equal parts the samples of a batch are dealt out in."""
        groups = [self.tasks] if isinstance(self.tasks, Tasks) else self.tasks.groups
        together = any(group.x_axis is None for group in groups)
        return self.count if together else self.data

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The grid as JAX has it."""
        known = jax.devices() if self.devices is None else self.devices
        sizes = {"data": self.data, "task": self.task}
        # An axis of one device deals nothing out, and JAX drops it from what it says.
        names = tuple(name for name, size in sizes.items() if size > 1) or ("data",)
        grid = np.array(known[: self.count]).reshape([sizes[name] for name in names])
        return Mesh(grid, names, axis_types=(AxisType.Auto,) * len(names))

    def run(
        self, step: Callable[[TrainState, Batch], tuple[TrainState, Any]]
    ) -> Callable[[TrainState, Batch], tuple[TrainState, Any]]:
        """The step on these devices, for ``jax.jit``.

        Args:
          step: as :func:`mtopt.make_train_step` returns it.

        Returns:
          A function like it. The state it returns stays where it is, and whatever else
          it returns is on every device.
        """

        @functools.wraps(step)
        def on_devices(state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
            state, batch = self.place_state(state), self.place_batch(batch)
            with self._traced():
                state, metrics = step(state, batch)
            return self.place_state(state), self.everywhere(metrics)

        return on_devices

    def predict(
        self, function: Callable[[Any, Any, Any], Any]
    ) -> Callable[[Any, Any, Any], Any]:
        """Predictions on these devices, which are returned on every one of them.

        Args:
          function: ``(params, model_state, x) -> outputs``.

        Returns:
          A function like it, for ``jax.jit``; inputs of any number of samples are dealt
          out where that gives equal parts.
        """

        @functools.wraps(function)
        def on_devices(params: Any, model_state: Any, x: Any) -> Any:
            with self._traced():
                return self.everywhere(
                    function(params, model_state, jax.tree.map(self._place_inputs, x))
                )

        return on_devices

    def place_batch(self, batch: Batch) -> Batch:
        """The batch, dealt to the devices; within a compiled function or before.

        Args:
          batch: of the tasks.

        Raises:
          UserError: where samples or tasks cannot be dealt out equally.
        """
        if isinstance(self.tasks, Tasks):
            x, y, mask = self._batch_of(self.tasks, batch.x, batch.y, batch.mask)
            return Batch(x, y, mask, batch.names)
        groups = self.tasks.groups
        inputs = (batch.x,) * len(groups) if self.tasks.shared_inputs else batch.x
        own = [
            self._batch_of(group, x, y, mask)
            for group, x, y, mask in zip(
                groups, inputs, batch.y, batch.mask, strict=True
            )
        ]
        x, y, mask = zip(*own, strict=True)
        return Batch(x[0] if self.tasks.shared_inputs else x, y, mask, batch.names)

    def place_state(self, state: TrainState) -> TrainState:
        """The state on the devices; within a compiled function or before.

        Args:
          state: of the step.
        """
        shared = jax.tree.leaves((state.params["shared"], state.constants))
        shapes = {leaf.shape for leaf in shared if leaf.ndim > 1}
        rows = {(len(self.tasks.names), *shape) for shape in shapes}

        def one(node: Any) -> Any:
            if is_stack(node):
                return jax.tree.map(self._place_head, node)
            if node.shape in rows:
                return self._by_columns(node, 1)
            if node.shape in shapes and self.parameters == "sharded":
                return self._by_columns(node, 0)
            return self._place(node)

        return jax.tree.map(one, state, is_leaf=is_stack)

    def everywhere(self, tree: Any) -> Any:
        """Arrays as a copy on every device.

        Args:
          tree: of arrays.
        """
        return jax.tree.map(self._place, tree)

    def _traced(self) -> Any:
        """A context: what is traced in it is traced for these devices.

        For one there is none: under a mesh JAX does not map the derivative of a grouped
        convolution by its inputs' channels (jax 0.10.2), as mapped encoders have.
        """
        if self.count == 1:
            return contextlib.nullcontext()
        return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

    def _place(self, leaf: Any, *axes: tuple[str, ...]) -> Any:
        """An array with each of its first axes dealt to some axes of the grid."""
        if self.count == 1:
            return leaf
        known = [tuple(a for a in own if a in self.mesh.axis_names) for own in axes]
        spec = PartitionSpec(*(own or None for own in known))
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, spec))

    def _by_columns(self, leaf: Any, start: int) -> Any:
        axis = column_axis(leaf.shape[start:], self.count)
        if axis is None:
            return self._place(leaf)
        return self._place(leaf, *((),) * (start + axis), ALL)

    @property
    def _own_inputs(self) -> bool:
        """Whether every task has inputs of its own, and all are of one structure."""
        return isinstance(self.tasks, Tasks) and self.tasks.x_axis == 0

    def _place_head(self, leaf: Any) -> Any:
        return self._place(leaf, *((("task",),) if self._own_inputs else ()))

    def _place_inputs(self, leaf: Any) -> Any:
        """Samples on the first axis, or behind that of the tasks."""
        own = self._own_inputs
        sizes = (self.task, self.data) if own else (self.count,)
        axes = (("task",), ("data",)) if own else (ALL,)
        equal = zip(leaf.shape, sizes, axes, strict=False)
        return self._place(leaf, *(a * (n % size == 0) for n, size, a in equal))

    def _batch_of(
        self, tasks: Tasks, x: Any, y: Any, mask: Any
    ) -> tuple[Any, Any, Any]:
        num_tasks, samples = np.shape(mask)
        if tasks.x_axis is None:
            _expect_multiple("samples", samples, self.count)
            inputs, labels = (ALL,), ((), ALL)
        else:
            _expect_multiple("samples of a task", samples, self.data)
            _expect_multiple("tasks", num_tasks, self.task)
            inputs = labels = ("task",), ("data",)
        return (
            jax.tree.map(lambda leaf: self._place(leaf, *inputs), x),
            jax.tree.map(lambda leaf: self._place(leaf, *labels), y),
            self._place(mask, *labels),
        )


def _expect_multiple(what: str, found: int, devices: int) -> None:
    if found % devices:
        raise UserError(
            f"a batch of {found} {what} for {devices} devices: expected a multiple of "
            f"{devices}"
        )
