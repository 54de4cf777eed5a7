"""The problem of tasks of equal structure: one task's loss under ``jax.vmap``."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from typing_extensions import override

from mtopt import sample_axis
from mtopt.batch import Batch, is_real, loss_mask, narrowed, zero_masked
from mtopt.columns import by_columns
from mtopt.deal import check_parts, deal, dealt_batch
from mtopt.errors import UserError
from mtopt.floats import has_gaps, map_floats, merge, only_floats, without_floats
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.gradients.through_encoder import rows_through_encoder, through_encoder
from mtopt.heads import check_outputs, have_layers, passes_of_heads
from mtopt.linalg import combine, gramian, scale_rows, steepest, where_present
from mtopt.nonfinite import tasks_not_finite
from mtopt.own_statistics import OwnStatistics
from mtopt.passes import over_tasks
from mtopt.per_task import PerTask, in_words, scale_heads, task_keys
from mtopt.points import Point
from mtopt.problem import BatchProblem, Params
from mtopt.task import Task
from mtopt.task_encoder import TaskEncoder


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StackedProblem(BatchProblem):
    """:class:`mtopt.Tasks` on one batch; made by :meth:`mtopt.Tasks.problem`.

    Attributes:
      batch: inputs, labels and mask.
      loss_mask: the mask that the losses see, from :func:`mtopt.batch.loss_mask`.
      key: the randomness of the step.
      model_state: BatchNorm statistics and their like.
      tasks: the model.
      hidden: tasks whose own parameters are not read, ``[K]``; see :meth:`without`.
      apart: True for one of several groups that have inputs of their own.
      seen: which samples have a label in any group, where groups share the inputs.
      constants: shared parameters that are not trained; see :func:`mtopt.freeze`.
    """

    batch: Batch
    loss_mask: Any
    key: Any
    model_state: Any
    tasks: Any = dataclasses.field(metadata={"static": True})
    hidden: Any = None
    apart: bool = dataclasses.field(default=False, metadata={"static": True})
    seen: Any = None
    constants: Any = None

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self.tasks.names

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self.batch.mask.any(axis=1)

    @property
    def labels(self) -> Array:
        """How many labels each task has in this batch, or their weight, ``[K]``."""
        return self.batch.mask.sum(axis=1)

    @property
    def counted(self) -> Array:
        """How many labels each loss is the mean over, or their weight, ``[K]``."""
        if self.tasks.label_mask is None:
            return self.labels
        mask = jax.vmap(self.tasks.label_mask)(self.batch.y, self.batch.mask)
        return mask.sum(axis=tuple(range(1, mask.ndim)))

    @override
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        return self._over_tasks(self._task_loss, params, shared_axis)

    @override
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        if shared_axis is None and passes == "vmap":
            written = rows_through_encoder(self, self, params)
            if written is not None:
                return written
        function = jax.value_and_grad(self._task_loss, argnums=(0, 1))
        losses, found = self._over_tasks(function, params, shared_axis, passes)
        rows, heads = steepest(found)
        rows = by_columns(rows)
        return losses, {"shared": rows, "tasks": PerTask(heads, self.names)}

    @override
    def task_gradients(self, params: Params) -> TaskGradients:
        found = through_encoder(self, self, params)
        return super().task_gradients(params) if found is None else found

    def features(self, params: Params) -> Any:
        """The representation, of one copy of the shared parameters."""
        found = only_floats(self._encode(params)[0])
        if not jax.tree.leaves(found):
            raise UserError(
                "encode returned no array of floats: expected one that can be "
                "differentiated"
            )
        return found

    @override
    def representation(self, params: Params, *, shared_axis: int | None = None) -> Any:
        if shared_axis is None:
            return self.features(params)
        return only_floats(self._encode(params, shared_axis)[0])

    @override
    def head_losses(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        return self._over_heads(self._head_loss, params, representation, shared_axis)

    @override
    def losses_and_head_grads(
        self, params: Params, representation: Any
    ) -> tuple[Float[Array, " K"], Any, Any]:
        function = jax.value_and_grad(self._head_loss, argnums=(0, 1))
        losses, found = self._over_heads(function, params, representation)
        heads, gradients = steepest(found)
        return losses, PerTask(heads, self.names), gradients

    @override
    def losses_at_mean(self, params: Params) -> Float[Array, " K"]:
        at_mean = functools.partial(self._task_loss, seen=sample_axis.mean_of)
        return self._over_tasks(at_mean, params, None)

    @override
    def representation_gradients(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Any:
        gradient = jax.grad(self._head_loss, argnums=1)
        return steepest(self._over_heads(gradient, params, representation, shared_axis))

    @override
    def weighted_representation_gradient(
        self, params: Params, representation: Any, weights: Float[Array, " K"]
    ) -> Any:
        """What arrives from a head of several layers, taken back anyway, is weighted.

        A single layer is taken back for all tasks together, without ``[K, B, ...]``.
        """
        if not have_layers(params["tasks"]):
            return super().weighted_representation_gradient(
                params, representation, weights
            )
        gradients = self.representation_gradients(params, representation)
        if self.tasks.z_axis is None:
            return combine(weights, gradients)
        return scale_rows(weights, gradients)

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        return self._pulled(params, gradient)[0]

    @override
    def pull_to_tasks(self, params: Params, gradient: Any) -> Any:
        if not self.tasks.per_task:
            return None
        return PerTask(self._pulled(params, gradient)[1], self.names)

    @override
    def weighted_heads(self, params: Params, weights: Float[Array, " K"]) -> Any:
        if not self.tasks.per_task:
            return None
        z = self.representation(params)
        own = scale_heads(self.losses_and_head_grads(params, z)[1], weights)
        gradient = self.weighted_representation_gradient(params, z, weights)
        return jax.tree.map(jnp.add, own, self.pull_to_tasks(params, gradient))

    @override
    def telling_gradients(self, params: Params, heads: Any) -> Any:
        if not self.tasks.per_task:
            return heads
        gradients = self.representation_gradients(params, self.representation(params))
        return PerTask(gradients, self.names)

    def _pulled(self, params: Params, gradient: Any) -> tuple[Any, Any]:
        """What comes back of a gradient, to shared parameters and to tasks' own."""

        def features(shared: Any, heads: Any) -> Any:
            return self.features({"shared": shared, "tasks": heads})

        _, pull = jax.vjp(features, params["shared"], params["tasks"])
        # What JAX pulls back is conjugate, on both sides.
        shared, heads = steepest(pull(steepest(gradient)))
        return shared, heads.values

    @override
    def sum_over_tasks(self, gradients: Any) -> Any:
        if self.tasks.z_axis is None:
            return jax.tree.map(lambda leaf: leaf.sum(axis=0), gradients)
        return gradients

    @override
    def representation_gramian(self, points: Sequence[Point]) -> Float[Array, "K K"]:
        products = gramian(self.representation_rows(points))
        if self.tasks.z_axis is None:
            return products
        return products * jnp.eye(len(self.names), dtype=products.dtype)

    @override
    def next_model_state(self, params: Params) -> Any:
        state = self._encode(params)[1]
        if self.tasks.z_axis is None and not self.apart:
            return state
        if self.tasks.z_axis is None or self.tasks.coupled:
            some = self.present.any()
            return jax.tree.map(
                lambda new, old: jnp.where(some, new, old), state, self.model_state
            )
        real = is_real(self.batch.mask)
        if self.tasks.x_axis is None:  # one input, which is that of every task
            real = jnp.broadcast_to(real.any(axis=0), real.shape)
        state = where_present(real.any(axis=1), state, self.model_state)
        if isinstance(state, OwnStatistics):
            labels = real.sum(axis=1).astype(state.labels.dtype)
            return state._replace(labels=state.labels + labels)
        return state

    @override
    def split(self, parts: int) -> tuple["StackedProblem", ...]:
        mask = is_real(self.batch.mask)
        check_parts(mask.shape[1], parts)
        key = self._key(3)
        if self.tasks.x_axis is None:
            return self.dealt(*deal(mask, key, parts))
        samples, real = jax.vmap(lambda own: deal(own[None], key, parts))(mask)
        return self.dealt(samples.swapaxes(0, 1), real[:, :, 0].swapaxes(0, 1))

    def dealt(self, samples: Any, real: Any) -> tuple["StackedProblem", ...]:
        """The problems on some samples of the batch, as :func:`mtopt.deal.deal` says.

        Args:
          samples: of each part, ``[P, s]``; ``[P, K, s]`` for disjoint inputs.
          real: which of their labels it has, ``[P, K, s]``.
        """
        pieces = zip(samples, real, strict=True)
        batches = [dealt_batch(self.batch, self.tasks.x_axis, *own) for own in pieces]
        return tuple(
            dataclasses.replace(
                self,
                batch=batch,
                loss_mask=loss_mask(batch.mask),
                key=jax.random.fold_in(self.key, 4 + i),
            )
            for i, batch in enumerate(batches)
        )

    @override
    def auxiliary(self, params: Params) -> Any:
        if not self.tasks.has_aux:
            return None
        z = self.representation(params)
        return self._over_heads(lambda *own: self._head_outputs(*own)[1], params, z)

    @override
    def tasks_not_finite(self, params: Params) -> Bool[Array, " K"]:
        if self.tasks.z_axis is not None:  # rows are one pass
            return tasks_not_finite(*self.losses_and_grads(params))
        z = self.representation(params)
        losses, *found = self.losses_and_head_grads(params, z)
        return tasks_not_finite(losses, found)

    @override
    def without(self, hidden: Bool[Array, " K"]) -> "StackedProblem":
        mask = narrowed(self.batch.mask, ~hidden[:, None])
        x = self.batch.x
        if self.tasks.x_axis is not None:
            x = zero_masked(x, jnp.broadcast_to(~hidden[:, None], mask.shape))
        batch = Batch(x, zero_masked(self.batch.y, mask), mask, self.names)
        return dataclasses.replace(
            self, batch=batch, loss_mask=loss_mask(mask), hidden=hidden
        )

    @override
    def in_parts(self, count: int) -> "StackedProblem":
        if self.tasks.stateful:
            raise UserError(
                "the model couples the samples of a batch by its running statistics "
                "(BatchNorm), so that micro-batches would train another model: "
                "expected micro_batches=1, or a model without such statistics"
            )
        batch = sample_axis.cut_batch(self.batch, count, self.tasks.x_axis)
        return dataclasses.replace(
            self,
            batch=dataclasses.replace(batch, names=self.names),
            loss_mask=jax.vmap(loss_mask)(batch.mask),
            key=jax.random.split(self.key, count),
            model_state=None,
            constants=None,
            hidden=jax.tree.map(lambda own: jnp.stack([own] * count), self.hidden),
        )

    @override
    def with_constants_of(self, whole: BatchProblem) -> "StackedProblem":
        assert isinstance(whole, StackedProblem)
        return dataclasses.replace(self, constants=whole.constants)

    @override
    def cut_parts(
        self, representation: Any, count: int, *, task_axis: bool = False
    ) -> Any:
        axis = 1 if task_axis or self.tasks.z_axis is not None else 0
        return sample_axis.cut_tree(representation, count, axis)

    @override
    def join_parts(self, stacked: Any, *, task_axis: bool = False) -> Any:
        axis = 1 if task_axis or self.tasks.z_axis is not None else 0
        return jax.tree.map(lambda leaf: sample_axis.join(leaf, axis), stacked)

    def _task_loss(
        self,
        shared: Any,
        head: Any,
        y: Any,
        mask: Bool[Array, " b"] | Float[Array, " b"],
        present: Bool[Array, ""],
        head_key: Any,
        x: Any,
        key: Any,
        state: Any,
        labelled: Any,
        index: Any,
        seen: Callable[[Array, Any], Array] = lambda leaf, labelled: leaf,
    ) -> Float[Array, ""]:
        own = x, key, state, labelled, Task(index, head)
        representation, _ = self._encoder.one(shared, *own)
        constants = without_floats(representation)
        floats = only_floats(representation)
        z = jax.tree.map(lambda leaf: seen(leaf, mask), floats)
        constants = map_floats(lambda leaf: seen(leaf, mask), constants)
        return self._head_loss(head, z, constants, y, mask, present, head_key)

    def _head_loss(
        self, head: Any, z: Any, constants: Any, y: Any, *rest: Any
    ) -> Float[Array, ""]:
        return self._head_outputs(head, z, constants, y, *rest)[0]

    def _head_outputs(
        self,
        head: Any,
        z: Any,
        constants: Any,
        y: Any,
        mask: Bool[Array, " b"] | Float[Array, " b"],
        present: Bool[Array, ""],
        key: Any,
    ) -> tuple[Float[Array, ""], Any]:
        """The loss of one task, a constant 0 where it is absent, and what is beside it.

        A representation may hold arrays that are no features, such as which tokens are
        real: nothing is differentiated with respect to these.
        """
        representation = merge(z, constants)
        outputs = self.tasks.head_loss(head, representation, y, mask, key)
        check_outputs(outputs, self.tasks.has_aux)
        loss, aux = outputs if self.tasks.has_aux else (outputs, None)
        return jnp.where(present, loss, jnp.zeros_like(loss)), aux

    @property
    def _encoder(self) -> TaskEncoder:
        of_batch = self.tasks, self.batch, self.key, self._key(0)
        return TaskEncoder(*of_batch, self.model_state, self.seen, self.constants)

    def _encode(
        self, params: Params, shared_axis: int | None = None
    ) -> tuple[Any, Any]:
        own = self._heads(params) if self.tasks.per_task else None
        return self._encoder.all(params["shared"], own, shared_axis)

    def _over_tasks(
        self,
        function: Callable[..., Any],
        params: Params,
        shared_axis: int | None,
        passes: str = "vmap",
    ) -> Any:
        encoder = self._encoder
        in_axes = (shared_axis, 0, 0, 0, 0, 0, *encoder.in_axes, 0)
        return over_tasks(function, in_axes, passes)(
            params["shared"],
            self._heads(params),
            self.batch.y,
            self.loss_mask,
            self.present,
            self._head_keys,
            *encoder.arguments,
            encoder.indices,
        )

    def _over_heads(
        self,
        function: Callable[..., Any],
        params: Params,
        representation: Any,
        shared_axis: int | None = None,
    ) -> Any:
        z_axis = self.tasks.z_axis if shared_axis is None else 0
        constants = None
        if has_gaps(representation):
            constants = without_floats(self._encode(params, shared_axis)[0])
        labels = self.batch.y, self.loss_mask, self.present
        heads = self._heads(params)
        passes = passes_of_heads(heads, len(self.names))
        on_tasks = over_tasks(function, (0, z_axis, z_axis, 0, 0, 0, 0), passes)
        return on_tasks(heads, representation, constants, *labels, self._head_keys)

    def _key(self, use: int) -> Any:
        """What all tasks draw from; a group that is apart by its first name."""
        key = jax.random.fold_in(self.key, use)
        return task_keys(key, self.names[:1])[0] if self.apart else key

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
        if self.hidden is None:
            return heads.values
        return where_present(~self.hidden, heads.values, 0)
