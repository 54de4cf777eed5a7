"""The problem of tasks of equal structure: one task's loss under ``jax.vmap``."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from typing_extensions import override

from mtopt.batch import Batch, loss_mask
from mtopt.errors import UserError
from mtopt.linalg import gramian
from mtopt.passes import over_tasks
from mtopt.per_task import PerTask, in_words, task_keys
from mtopt.problem import Params, Problem


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
    @override
    def names(self) -> tuple[str, ...]:
        return self.tasks.names

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self.batch.mask.any(axis=1)

    @override
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        return self._over_tasks(self._task_loss, params, shared_axis)

    @override
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        function = jax.value_and_grad(self._task_loss, argnums=(0, 1))
        losses, (rows, heads) = self._over_tasks(function, params, shared_axis, passes)
        return losses, {"shared": rows, "tasks": PerTask(heads, self.names)}

    @override
    def representation(self, params: Params) -> Any:
        return self._encode(params["shared"])[0]

    @override
    def head_losses(self, params: Params, representation: Any) -> Float[Array, " K"]:
        return self._over_heads(self._head_loss, params, representation)

    @override
    def representation_gradients(self, params: Params, representation: Any) -> Any:
        gradient = jax.grad(self._head_loss, argnums=1)
        return self._over_heads(gradient, params, representation)

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        _, pull = jax.vjp(lambda shared: self._encode(shared)[0], params["shared"])
        return pull(gradient)[0]

    @override
    def sum_over_tasks(self, gradients: Any) -> Any:
        if self.tasks.x_axis is None:
            return jax.tree.map(lambda leaf: leaf.sum(axis=0), gradients)
        return gradients

    @override
    def representation_gramian(self, params: Params) -> Float[Array, "K K"]:
        z = self.representation(params)
        products = gramian(self.representation_gradients(params, z))
        if self.tasks.x_axis is None:
            return products
        return products * jnp.eye(len(self.names), dtype=products.dtype)

    @override
    def next_model_state(self, params: Params) -> Any:
        state = self._encode(params["shared"])[1]
        if self.tasks.x_axis is None:
            return state
        return jax.tree.map(self._mean_over_present, state, self.model_state)

    @override
    def split(self, parts: int) -> tuple["StackedProblem", ...]:
        size = self.batch.mask.shape[1]
        if not 1 <= parts <= size:
            raise UserError(
                f"a batch of {size} samples cannot be split into {parts} parts: raise "
                "the batch size"
            )
        x_samples = 0 if self.tasks.x_axis is None else 1

        def part(i: int) -> StackedProblem:
            def take(leaf: Array, axis: int) -> Array:
                index = (slice(None),) * axis
                return leaf[(*index, slice(i, size // parts * parts, parts))]

            batch = Batch(
                jax.tree.map(lambda leaf: take(leaf, x_samples), self.batch.x),
                jax.tree.map(lambda leaf: take(leaf, 1), self.batch.y),
                take(self.batch.mask, 1),
                self.names,
            )
            key = jax.random.fold_in(self.key, 3 + i)
            seen = loss_mask(batch.mask)
            return StackedProblem(batch, seen, key, self.model_state, self.tasks)

        return tuple(part(i) for i in range(parts))

    def _task_loss(
        self,
        shared: Any,
        head: Any,
        x: Any,
        y: Any,
        mask: Bool[Array, " b"],
        present: Bool[Array, ""],
        encode_key: Any,
        head_key: Any,
    ) -> Float[Array, ""]:
        representation, _ = self._encode_one(shared, x, encode_key)
        return self._head_loss(head, representation, y, mask, present, head_key)

    def _head_loss(
        self,
        head: Any,
        representation: Any,
        y: Any,
        mask: Bool[Array, " b"],
        present: Bool[Array, ""],
        key: Any,
    ) -> Float[Array, ""]:
        """The loss of one task, a constant 0 where it is absent."""
        loss = self.tasks.head_loss(head, representation, y, mask, key)
        return jnp.where(present, loss, jnp.zeros_like(loss))

    def _encode_one(self, shared: Any, x: Any, key: Any) -> tuple[Any, Any]:
        if self.tasks.stateful:
            return self.tasks.encode(shared, x, key, self.model_state)
        return self.tasks.encode(shared, x, key), self.model_state

    def _encode(self, shared: Any) -> tuple[Any, Any]:
        if self.tasks.x_axis is None:
            return self._encode_one(shared, self.batch.x, self._encode_keys)
        on_tasks = over_tasks(self._encode_one, (None, 0, 0))
        return on_tasks(shared, self.batch.x, self._encode_keys)

    def _over_tasks(
        self,
        function: Callable[..., Any],
        params: Params,
        shared_axis: int | None,
        passes: str = "vmap",
    ) -> Any:
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

    def _over_heads(
        self, function: Callable[..., Any], params: Params, representation: Any
    ) -> Any:
        on_tasks = over_tasks(function, (0, self.tasks.x_axis, 0, 0, 0, 0))
        labels = self.batch.y, self.loss_mask, self.present
        return on_tasks(self._heads(params), representation, *labels, self._head_keys)

    @property
    def _encode_keys(self) -> Any:
        key = jax.random.fold_in(self.key, 0)
        return key if self.tasks.x_axis is None else task_keys(key, self.names)

    @property
    def _head_keys(self) -> Key[Array, " K"]:
        return task_keys(jax.random.fold_in(self.key, 1), self.names)

    def _heads(self, params: Params) -> Any:
        heads = params["tasks"]
        if not isinstance(heads, PerTask) or heads.names != self.names:
            found = heads.names if isinstance(heads, PerTask) else type(heads).__name__
            raise UserError(
                f"params['tasks'] holds {in_words(found)}: expected a mtopt.PerTask of "
                f"the tasks {in_words(self.names)}"
            )
        return heads.values

    def _mean_over_present(self, new: Array, old: Any) -> Array:
        share = self.present / jnp.maximum(self.present.sum(), 1)
        mean = jnp.tensordot(share.astype(new.dtype), new, axes=1)
        return jnp.where(self.present.any(), mean, old)
