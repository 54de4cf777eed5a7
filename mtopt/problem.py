"""A multi-task problem: pure functions of the parameters, one batch closed over.

A model is two functions, written for *one* task: ``encode`` turns inputs into a
representation with the shared parameters, ``head_loss`` turns it into a loss with
the task's own. Everything a method can ask for (losses, per-task gradients, the
gradient of a weighted loss, gradients of the representation) is a ``vmap`` of those
two over the task axis. Because all of it comes from one function, XLA merges what
the pieces have in common and drops what the method does not read.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.batch import Batch, hide, repeat_real
from mtopt.errors import UserError
from mtopt.linalg import gramian
from mtopt.per_task import PerTask, check_names, task_keys

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Tasks:
    """Tasks of equal structure: their names, and the model as two functions.

    Args:
      names: the K task names, sorted: the order of axis K everywhere.
      encode: ``(shared, x, key) -> representation``, the shared part of the model on
        the inputs of one batch. ``shared`` is ``params["shared"]``.
      head_loss: ``(head, representation, targets, mask, key) -> scalar``, the loss of
        one task on its labels ``[b, ...]``; see :func:`mtopt.masked_mean` for the
        reduction. ``head`` is one task's entry of ``params["tasks"]``.
      x_axis: None if all tasks share one input (then the forward pass runs once), 0
        if each task has inputs of its own, ``[K, b, ...]``.
      stateful: True if ``encode`` is ``(shared, x, key, model_state) ->
        (representation, model_state)``, as BatchNorm's running statistics need.

    Raises:
      UserError: for names out of order.

    Example:
      Two regressions on one input:

      >>> import mtopt
      >>> def encode(shared, x, key):
      ...     return jnp.tanh(x @ shared["w"])
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head["v"] - y) ** 2, mask)
      >>> tasks = Tasks(("left", "right"), encode, head_loss)
      >>> heads = {"left": {"v": jnp.ones(4)}, "right": {"v": jnp.zeros(4)}}
      >>> params = {"shared": {"w": jnp.ones((3, 4))}, "tasks": PerTask.stack(heads)}
      >>> batch = mtopt.Batch.shared(
      ...     jnp.ones((2, 3)), {"left": jnp.ones(2), "right": jnp.ones(2)})
      >>> problem = tasks.problem(batch, jax.random.key(0))
      >>> losses, grads = problem.losses_and_grads(params)
      >>> [round(float(loss), 3) for loss in losses], grads["shared"]["w"].shape
      ([8.882, 1.0], (2, 3, 4))
    """

    names: tuple[str, ...]
    encode: Callable[..., Any]
    head_loss: Callable[..., Float[Array, ""]]
    x_axis: int | None = None
    stateful: bool = False

    def __post_init__(self):
        check_names(self.names)
        if self.x_axis not in (None, 0):
            raise UserError(
                f"x_axis is {self.x_axis!r}: expected None (all tasks share one "
                "input) or 0 (inputs with a leading task axis)"
            )

    def problem(
        self, batch: Batch, key: PRNGKeyArray, model_state: Any = None
    ) -> "StackedProblem":
        """This model on one batch, with one key and the model state closed over.

        Args:
          batch: inputs, labels and mask, the task axis in the order of ``names``.
          key: the randomness of the step (dropout, sampling). Every pass of the step
            uses the same one. Task k's key is ``fold_in(key, hash(name_k))``: adding
            or removing another task does not change it.
          model_state: BatchNorm statistics and their like.

        Raises:
          UserError: where a shape does not fit the K tasks.
        """
        self._check(batch)
        mask = jnp.asarray(batch.mask, bool)
        x = batch.x if self.x_axis is None else repeat_real(_arrays(batch.x), mask)
        y = hide(_arrays(batch.y), mask)
        return StackedProblem(Batch(x, y, mask), key, model_state, self)

    def _check(self, batch: Batch) -> None:
        mask_shape = jnp.shape(batch.mask)
        num_tasks = len(self.names)
        if len(mask_shape) != 2 or mask_shape[0] != num_tasks:
            raise UserError(
                f"mask has shape {mask_shape}: expected (K, b) with K={num_tasks} "
                f"tasks {_short(self.names)}"
            )
        lead = {"y": mask_shape, "x": mask_shape[self.x_axis is None :]}
        for field, expected in lead.items():
            for path, leaf in jax.tree_util.tree_leaves_with_path(
                getattr(batch, field)
            ):
                shape = jnp.shape(leaf)
                if shape[: len(expected)] != expected:
                    raise UserError(
                        f"batch.{field}{jax.tree_util.keystr(path)} has shape {shape}: "
                        f"expected it to start with {expected}, as the mask does "
                        f"(K={num_tasks}, x_axis={self.x_axis})"
                    )


@dataclasses.dataclass(frozen=True)
class TaskGroups:
    """Tasks of unequal structure: groups of equal ones, trained together.

    Heads of other shapes, other losses, or inputs of another kind make a group of
    their own. The task axis K is the sorted names of all groups; only
    ``params["shared"]`` is common to them.

    Args:
      groups: the groups. ``params["tasks"]``, ``batch.y``, ``batch.mask`` and the
        model state are tuples with one entry per group.
      shared_inputs: True if every group reads the same ``batch.x`` (one ``encode`` of
        it serves all, if the groups have the same ``encode``), False if ``batch.x``
        is a tuple with one entry per group.

    Raises:
      UserError: where a task stands in two groups.

    Example:
      >>> import mtopt
      >>> def encode(shared, x, key):
      ...     return x @ shared
      >>> def squared(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> def absolute(head, z, y, mask, key):
      ...     return mtopt.masked_mean(jnp.abs(z @ head[0] + head[1] - y), mask)
      >>> groups = TaskGroups((Tasks(("depth",), encode, squared),
      ...                      Tasks(("age", "size"), encode, absolute)),
      ...                     shared_inputs=True)
      >>> groups.names
      ('age', 'depth', 'size')
    """

    groups: tuple[Tasks, ...]
    shared_inputs: bool

    def __post_init__(self):
        names = [name for group in self.groups for name in group.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"tasks {twice} stand in two groups: expected one each")

    @property
    def names(self) -> tuple[str, ...]:
        """All task names, sorted: the order of axis K."""
        return tuple(sorted(name for group in self.groups for name in group.names))

    def problem(
        self, batch: Batch, key: PRNGKeyArray, model_state: Any = None
    ) -> "GroupedProblem":
        """The groups on one batch; arguments as for :meth:`Tasks.problem`.

        Raises:
          UserError: where the batch has another number of groups.
        """
        count = len(self.groups)
        inputs = (batch.x,) * count if self.shared_inputs else batch.x
        states = (None,) * count if model_state is None else model_state
        for field, value in (("x", inputs), ("y", batch.y), ("mask", batch.mask)):
            if not isinstance(value, tuple) or len(value) != count:
                raise UserError(
                    f"batch.{field} of task groups must be a tuple of {count} entries, "
                    f"one per group: got {type(value).__name__}"
                )
        parts = tuple(
            group.problem(Batch(x, y, mask), key, state)
            for group, x, y, mask, state in zip(
                self.groups, inputs, batch.y, batch.mask, states, strict=True
            )
        )
        return GroupedProblem(parts)


class Problem(abc.ABC):
    """What a method may ask of the losses; see :meth:`Tasks.problem`.

    All functions are pure in ``params = {"shared": ..., "tasks": ...}``.
    """

    names: tuple[str, ...]
    present: Bool[Array, " K"]

    @abc.abstractmethod
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        """The loss of every task.

        Args:
          params: where to evaluate.
          shared_axis: None if the tasks share ``params["shared"]``; 0 if each has a
            copy of its own, ``[K, ...]``, as per-task perturbations make.
        """

    @abc.abstractmethod
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None
    ) -> tuple[Float[Array, " K"], Params]:
        """Losses, and the gradient of every task's own loss.

        Returns:
          The losses, and ``{"shared": rows, "tasks": head gradients}``: rows have the
          leading task axis K, a head's gradient is that of its own loss.
        """

    @abc.abstractmethod
    def representation_gramian(self, params: Params) -> Float[Array, "K K"]:
        """Inner products of the gradients of the losses w.r.t. the representation.

        With shared inputs all tasks act on one representation Z, and ``G[i, j] =
        <dL_i/dZ, dL_j/dZ>`` over all samples. Disjoint inputs have disjoint
        representations, so that different tasks are orthogonal.
        """

    @abc.abstractmethod
    def next_model_state(self, params: Params) -> Any:
        """The model state after one clean forward pass, whatever a method evaluates."""

    def pullback(self, params: Params, weights: Float[Array, " K"]) -> Any:
        """The shared gradient of the weighted loss, ``sum_k w_k dL_k/dshared``.

        One backward pass, where summing the rows takes K.
        """

        def weighted_loss(shared):
            return weights @ self.losses({**params, "shared": shared})

        return jax.grad(weighted_loss)(params["shared"])


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["batch", "key", "model_state"],
    meta_fields=["tasks"],
)
@dataclasses.dataclass(frozen=True)
class StackedProblem(Problem):
    """:class:`Tasks` on one batch; made by :meth:`Tasks.problem`."""

    batch: Batch
    key: Any
    model_state: Any
    tasks: Tasks

    @property
    def names(self):  # noqa: D102
        return self.tasks.names

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self.batch.mask.any(axis=1)

    def losses(self, params, *, shared_axis=None):  # noqa: D102
        return self._over_tasks(self._task_loss, params, shared_axis)

    def losses_and_grads(self, params, *, shared_axis=None):  # noqa: D102
        losses, (rows, heads) = self._over_tasks(
            jax.value_and_grad(self._task_loss, argnums=(0, 1)), params, shared_axis
        )
        return losses, {"shared": rows, "tasks": PerTask(heads, self.names)}

    def representation(self, params: Params) -> Any:
        """The representation: leaves ``[B, ...]``, or ``[K, b, ...]`` if disjoint."""
        return self._encode(params["shared"])[0]

    def representation_gradients(self, params: Params) -> Any:
        """``dL_k/dZ`` of every task: leaves ``[K, B, ...]`` (or ``[K, b, ...]``)."""
        z = self.representation(params)
        gradient = jax.vmap(
            jax.grad(self.tasks.head_loss, argnums=1),
            in_axes=(0, self.tasks.x_axis, 0, 0, 0),
        )
        y, mask = self.batch.y, self.batch.mask
        return gradient(self._heads(params), z, y, mask, self._head_keys)

    def representation_gramian(self, params):  # noqa: D102
        products = gramian(self.representation_gradients(params))
        if self.tasks.x_axis is None:
            return products
        return products * jnp.eye(len(self.names), dtype=products.dtype)

    def next_model_state(self, params):  # noqa: D102
        state = self._encode(params["shared"])[1]
        if self.tasks.x_axis is None:
            return state
        return jax.tree.map(self._mean_over_present, state, self.model_state)

    def _task_loss(self, shared, head, x, y, mask, encode_key, head_key):
        representation, _ = self._encode_one(shared, x, encode_key)
        return self.tasks.head_loss(head, representation, y, mask, head_key)

    def _encode_one(self, shared, x, key):
        if self.tasks.stateful:
            return self.tasks.encode(shared, x, key, self.model_state)
        return self.tasks.encode(shared, x, key), self.model_state

    def _encode(self, shared):
        if self.tasks.x_axis is None:
            return self._encode_one(shared, self.batch.x, self._encode_keys)
        over_tasks = jax.vmap(self._encode_one, in_axes=(None, 0, 0))
        return over_tasks(shared, self.batch.x, self._encode_keys)

    def _over_tasks(self, function, params, shared_axis):
        x_axis = self.tasks.x_axis
        over_tasks = jax.vmap(
            function, in_axes=(shared_axis, 0, x_axis, 0, 0, x_axis, 0)
        )
        return over_tasks(
            params["shared"],
            self._heads(params),
            self.batch.x,
            self.batch.y,
            self.batch.mask,
            self._encode_keys,
            self._head_keys,
        )

    @property
    def _encode_keys(self):
        key = jax.random.fold_in(self.key, 0)
        return key if self.tasks.x_axis is None else task_keys(key, self.names)

    @property
    def _head_keys(self):
        return task_keys(jax.random.fold_in(self.key, 1), self.names)

    def _heads(self, params):
        heads = params["tasks"]
        if not isinstance(heads, PerTask) or heads.names != self.names:
            found = heads.names if isinstance(heads, PerTask) else type(heads).__name__
            raise UserError(
                f"params['tasks'] holds {_short(found)}: expected a mtopt.PerTask of "
                f"the tasks {_short(self.names)}"
            )
        return heads.values

    def _mean_over_present(self, new, old):
        share = self.present / jnp.maximum(self.present.sum(), 1)
        mean = jnp.tensordot(share.astype(new.dtype), new, axes=1)
        return jnp.where(self.present.any(), mean, old)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["parts"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class GroupedProblem(Problem):
    """:class:`TaskGroups` on one batch; made by :meth:`TaskGroups.problem`."""

    parts: tuple[StackedProblem, ...]

    @property
    def names(self):  # noqa: D102
        return tuple(sorted(name for part in self.parts for name in part.names))

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self._concatenate([part.present for part in self.parts])

    def losses(self, params, *, shared_axis=None):  # noqa: D102
        return self._concatenate(
            [
                part.losses(own, shared_axis=shared_axis)
                for part, own in self._split(params, shared_axis)
            ]
        )

    def losses_and_grads(self, params, *, shared_axis=None):  # noqa: D102
        losses, grads = zip(
            *(
                part.losses_and_grads(own, shared_axis=shared_axis)
                for part, own in self._split(params, shared_axis)
            ),
            strict=True,
        )
        rows = jax.tree.map(
            lambda *leaves: self._concatenate(leaves), *(g["shared"] for g in grads)
        )
        heads = tuple(g["tasks"] for g in grads)
        return self._concatenate(losses), {"shared": rows, "tasks": heads}

    def representation_gramian(self, params):  # noqa: D102
        blocks = [
            part.representation_gramian(own) for part, own in self._split(params, None)
        ]
        diagonal = jax.scipy.linalg.block_diag(*blocks)
        return diagonal[self._order][:, self._order]

    def next_model_state(self, params):  # noqa: D102
        return tuple(
            part.next_model_state(own) for part, own in self._split(params, None)
        )

    @property
    def _order(self) -> np.ndarray:
        return np.argsort([name for part in self.parts for name in part.names])

    def _concatenate(self, blocks):
        return jnp.concatenate(list(blocks))[self._order]

    def _split(self, params, shared_axis):
        """Each group's problem with its own parameters."""
        for part, heads in zip(self.parts, params["tasks"], strict=True):
            shared = params["shared"]
            if shared_axis is not None:
                index = np.searchsorted(self.names, part.names)
                shared = jax.tree.map(lambda leaf, index=index: leaf[index], shared)
            yield part, {"shared": shared, "tasks": heads}


def _arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


def _short(names: Any) -> str:
    if isinstance(names, tuple) and len(names) > 6:
        return f"({', '.join(map(repr, names[:5]))}, ... {len(names)} in all)"
    return str(names)
