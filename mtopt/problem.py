"""A multi-task problem: what a method may ask of the losses on one batch.

Everything here (losses, per-task gradients, the gradient of a weighted loss,
gradients of the representation) is a ``vmap`` of one task's loss over the task axis.
Because all of it comes from one function, XLA merges what the pieces have in common
and drops what the method does not read.
"""

import abc
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.batch import Batch, loss_mask
from mtopt.errors import UserError
from mtopt.evaluation import Evaluation
from mtopt.linalg import gramian, scale_rows
from mtopt.options import Number
from mtopt.passes import over_tasks
from mtopt.per_task import PerTask, in_words, task_keys

Params = dict[str, Any]


class Problem(abc.ABC):
    """What a method may ask of the losses; see :meth:`mtopt.Tasks.problem`.

    All functions are pure in ``params = {"shared": ..., "tasks": ...}``.
    """

    names: tuple[str, ...]
    present: Bool[Array, " K"]
    key: Any

    def evaluate(self, params: Params) -> Evaluation:
        """All that a method may read about a step that starts here.

        Args:
          params: where to evaluate, ``{"shared": ..., "tasks": ...}``.

        Returns:
          Losses and per-task gradients, and the way back: hand its ``gradients`` to an
          optimizer as updates, and itself as the keyword ``evaluation``. What the
          optimizer does not read, ``jit`` drops.
        """
        losses, gradients = self.losses_and_grads(params)
        return Evaluation(
            losses=losses,
            rows=gradients["shared"],
            heads=gradients["tasks"],
            key=jax.random.fold_in(self.key, 2),
            params=params,
            problem=self,
            unchanged=True,
        )

    @abc.abstractmethod
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        """The loss of every task; 0, with a gradient of 0, where a task is absent.

        Args:
          params: where to evaluate.
          shared_axis: None if the tasks share ``params["shared"]``; 0 if each has a
            copy of its own, ``[K, ...]``, as per-task perturbations make.
        """

    @abc.abstractmethod
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        """Losses, and the gradient of every task's own loss.

        Args:
          params: where to evaluate.
          shared_axis: as for :meth:`losses`.
          passes: all tasks at once or one after another; see
            :func:`mtopt.passes.over_tasks`.

        Returns:
          The losses, and ``{"shared": rows, "tasks": head gradients}``: rows have the
          leading task axis K, a head's gradient is that of its own loss.
        """

    @abc.abstractmethod
    def representation(self, params: Params) -> Any:
        """The representation Z: leaves ``[B, ...]``, or ``[K, b, ...]`` if disjoint.

        Raises:
          UserError: for groups of tasks that do not act on one representation.
        """

    @abc.abstractmethod
    def head_losses(self, params: Params, representation: Any) -> Float[Array, " K"]:
        """The loss of every task on a given representation; it reads the heads alone.

        Args:
          params: whose heads act on the representation.
          representation: Z, as :meth:`representation` returns it.

        Raises:
          UserError: as :meth:`representation`.
        """

    @abc.abstractmethod
    def representation_gradients(self, params: Params, representation: Any) -> Any:
        """``dL_k/dZ`` of every task: leaves ``[K, B, ...]`` (or ``[K, b, ...]``).

        It reads the heads alone, so that its derivatives cost passes through the heads.

        Args and errors are those of :meth:`head_losses`.
        """

    @abc.abstractmethod
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        """The shared gradient of a gradient with respect to the representation.

        Args:
          params: where to evaluate.
          gradient: of some scalar, a tree like :meth:`representation`.

        Returns:
          A tree like the shared parameters; one backward pass through the encoder.

        Raises:
          UserError: as :meth:`representation`.
        """

    @abc.abstractmethod
    def sum_over_tasks(self, gradients: Any) -> Any:
        """The gradient of the sum of the losses from those of each.

        Args:
          gradients: leaves as :meth:`representation_gradients` returns them.

        Returns:
          A tree like :meth:`representation`: summed over K where the tasks share it.
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

    @abc.abstractmethod
    def split(self, parts: int) -> tuple["Problem", ...]:
        """Independent problems on equal parts of the batch, each with its own key.

        Samples take turns, so that every part has its share of a padded sub-batch;
        those beyond the last full turn are left out. It is how a method gets a
        validation half, or three independent batches, out of one step.

        Args:
          parts: their number, at most the samples of the batch.

        Raises:
          UserError: where the batch has fewer samples.
        """

    def pullback(
        self, params: Params, weights: Float[Array, " K"], also: Any = None
    ) -> Any:
        """The shared gradient of the weighted loss, ``sum_k w_k dL_k/dshared``.

        One backward pass, where summing the rows takes K.

        Args:
          params: where to evaluate.
          weights: of the losses, ``[K]``.
          also: the gradient of something else with respect to the representation, which
            goes back in the same pass; it needs a :meth:`representation`.
        """
        if also is not None:
            z = self.representation(params)
            gradients = self.representation_gradients(params, z)
            weighted = self.sum_over_tasks(scale_rows(weights, gradients))
            total = jax.tree.map(jnp.add, weighted, also)
            return self.pull_representation(params, total)

        def weighted_loss(shared):
            return weights @ self.losses({**params, "shared": shared})

        return jax.grad(weighted_loss)(params["shared"])

    def look_ahead(
        self, params: Params, weights: Float[Array, " K"], length: Number
    ) -> Params:
        """Where one gradient step on the weighted loss leads, with its heads.

        Args:
          params: where to start.
          weights: of the tasks, ``[K]``.
          length: of the step, the learning rate.
        """

        def weighted_loss(params):
            return weights @ self.losses(params).astype(weights.dtype)

        step = jax.grad(weighted_loss)(params)
        return jax.tree.map(
            lambda p, g: p - jnp.asarray(length, p.dtype) * g, params, step
        )


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["batch", "loss_mask", "key", "model_state"],
    meta_fields=["tasks"],
)
@dataclasses.dataclass(frozen=True)
class StackedProblem(Problem):
    """:class:`mtopt.Tasks` on one batch; made by :meth:`mtopt.Tasks.problem`.

    Attributes:
      batch: inputs, labels and mask.
      loss_mask: the mask that the losses see, from :func:`mtopt.batch.loss_mask`.
      key: the randomness of the step.
      model_state: BatchNorm statistics and their like.
      tasks: the model.
    """

    batch: Batch
    loss_mask: Any
    key: Any
    model_state: Any
    tasks: Any

    @property
    def names(self):  # noqa: D102
        return self.tasks.names

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self.batch.mask.any(axis=1)

    def losses(self, params, *, shared_axis=None):  # noqa: D102
        return self._over_tasks(self._task_loss, params, shared_axis)

    def losses_and_grads(  # noqa: D102
        self, params, *, shared_axis=None, passes="vmap"
    ):
        function = jax.value_and_grad(self._task_loss, argnums=(0, 1))
        losses, (rows, heads) = self._over_tasks(function, params, shared_axis, passes)
        return losses, {"shared": rows, "tasks": PerTask(heads, self.names)}

    def representation(self, params):  # noqa: D102
        return self._encode(params["shared"])[0]

    def head_losses(self, params, representation):  # noqa: D102
        return self._over_heads(self._head_loss, params, representation)

    def representation_gradients(self, params, representation):  # noqa: D102
        gradient = jax.grad(self._head_loss, argnums=1)
        return self._over_heads(gradient, params, representation)

    def pull_representation(self, params, gradient):  # noqa: D102
        _, pull = jax.vjp(lambda shared: self._encode(shared)[0], params["shared"])
        return pull(gradient)[0]

    def sum_over_tasks(self, gradients):  # noqa: D102
        if self.tasks.x_axis is None:
            return jax.tree.map(lambda leaf: leaf.sum(axis=0), gradients)
        return gradients

    def representation_gramian(self, params):  # noqa: D102
        z = self.representation(params)
        products = gramian(self.representation_gradients(params, z))
        if self.tasks.x_axis is None:
            return products
        return products * jnp.eye(len(self.names), dtype=products.dtype)

    def next_model_state(self, params):  # noqa: D102
        state = self._encode(params["shared"])[1]
        if self.tasks.x_axis is None:
            return state
        return jax.tree.map(self._mean_over_present, state, self.model_state)

    def split(self, parts):  # noqa: D102
        size = self.batch.mask.shape[1]
        if not 1 <= parts <= size:
            raise UserError(
                f"a batch of {size} samples cannot be split into {parts} parts: raise "
                "the batch size"
            )
        x_samples = 0 if self.tasks.x_axis is None else 1

        def part(i):
            def take(leaf, axis):
                index = (slice(None),) * axis
                return leaf[(*index, slice(i, size // parts * parts, parts))]

            batch = Batch(
                jax.tree.map(lambda leaf: take(leaf, x_samples), self.batch.x),
                jax.tree.map(lambda leaf: take(leaf, 1), self.batch.y),
                take(self.batch.mask, 1),
            )
            key = jax.random.fold_in(self.key, 3 + i)
            seen = loss_mask(batch.mask)
            return StackedProblem(batch, seen, key, self.model_state, self.tasks)

        return tuple(part(i) for i in range(parts))

    def _task_loss(self, shared, head, x, y, mask, present, encode_key, head_key):
        representation, _ = self._encode_one(shared, x, encode_key)
        return self._head_loss(head, representation, y, mask, present, head_key)

    def _head_loss(self, head, representation, y, mask, present, key):
        """The loss of one task, a constant 0 where it is absent."""
        loss = self.tasks.head_loss(head, representation, y, mask, key)
        return jnp.where(present, loss, jnp.zeros_like(loss))

    def _encode_one(self, shared, x, key):
        if self.tasks.stateful:
            return self.tasks.encode(shared, x, key, self.model_state)
        return self.tasks.encode(shared, x, key), self.model_state

    def _encode(self, shared):
        if self.tasks.x_axis is None:
            return self._encode_one(shared, self.batch.x, self._encode_keys)
        on_tasks = over_tasks(self._encode_one, (None, 0, 0))
        return on_tasks(shared, self.batch.x, self._encode_keys)

    def _over_tasks(self, function, params, shared_axis, passes="vmap"):
        x_axis = self.tasks.x_axis
        in_axes = (shared_axis, 0, x_axis, 0, 0, 0, x_axis, 0)
        return over_tasks(function, in_axes, passes)(
            params["shared"],
            self._heads(params),
            self.batch.x,
            self.batch.y,
            self.loss_mask,
            self.present,
            self._encode_keys,
            self._head_keys,
        )

    def _over_heads(self, function, params, representation):
        on_tasks = over_tasks(function, (0, self.tasks.x_axis, 0, 0, 0, 0))
        labels = self.batch.y, self.loss_mask, self.present
        return on_tasks(self._heads(params), representation, *labels, self._head_keys)

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
                f"params['tasks'] holds {in_words(found)}: expected a mtopt.PerTask of "
                f"the tasks {in_words(self.names)}"
            )
        return heads.values

    def _mean_over_present(self, new, old):
        share = self.present / jnp.maximum(self.present.sum(), 1)
        mean = jnp.tensordot(share.astype(new.dtype), new, axes=1)
        return jnp.where(self.present.any(), mean, old)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["parts"],
    meta_fields=["shared_inputs"],
)
@dataclasses.dataclass(frozen=True)
class GroupedProblem(Problem):
    """:class:`mtopt.TaskGroups` on one batch; made by its ``problem``."""

    parts: tuple[StackedProblem, ...]
    shared_inputs: bool

    @property
    def key(self):  # noqa: D102
        return self.parts[0].key

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

    def losses_and_grads(  # noqa: D102
        self, params, *, shared_axis=None, passes="vmap"
    ):
        losses, grads = zip(
            *(
                part.losses_and_grads(own, shared_axis=shared_axis, passes=passes)
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

    def representation(self, params):  # noqa: D102
        return self._first.representation(params)

    def head_losses(self, params, representation):  # noqa: D102
        return self._concatenate(
            [
                part.head_losses(own, representation)
                for part, own in self._split(params, None)
            ]
        )

    def representation_gradients(self, params, representation):  # noqa: D102
        gradients = [
            part.representation_gradients(own, representation)
            for part, own in self._split(params, None)
        ]
        return jax.tree.map(lambda *leaves: self._concatenate(leaves), *gradients)

    def pull_representation(self, params, gradient):  # noqa: D102
        return self._first.pull_representation(params, gradient)

    def sum_over_tasks(self, gradients):  # noqa: D102
        return self._first.sum_over_tasks(gradients)

    def next_model_state(self, params):  # noqa: D102
        states = tuple(
            part.next_model_state(own) for part, own in self._split(params, None)
        )
        # None, as it came: another structure would compile the step twice.
        return None if all(state is None for state in states) else states

    def split(self, parts):  # noqa: D102
        pieces = zip(*(group.split(parts) for group in self.parts), strict=True)
        return tuple(GroupedProblem(piece, self.shared_inputs) for piece in pieces)

    @property
    def _first(self) -> StackedProblem:
        """The group whose encoder is that of all; raises where there is no such."""
        kinds = {(part.tasks.encode, part.tasks.x_axis) for part in self.parts}
        if not self.shared_inputs or kinds != {(self.parts[0].tasks.encode, None)}:
            raise UserError(
                "these groups of tasks have no representation in common: expected "
                "TaskGroups with shared_inputs=True, one encode, and x_axis None"
            )
        return self.parts[0]

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
