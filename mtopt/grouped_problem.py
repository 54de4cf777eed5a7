"""The problem of groups of tasks: a stacked problem for each, in one task order."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.batch import is_real
from mtopt.deal import check_parts, deal
from mtopt.errors import UserError
from mtopt.floats import merge, only_floats, without_floats
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.gradients.through_encoder import rows_through_encoder, through_encoder
from mtopt.linalg import gramian
from mtopt.per_task import scale_heads
from mtopt.points import Point
from mtopt.problem import BatchProblem, Params
from mtopt.stacked_problem import StackedProblem


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["parts"],
    meta_fields=["shared_inputs"],
)
@dataclasses.dataclass(frozen=True)
class GroupedProblem(BatchProblem):
    """:class:`mtopt.TaskGroups` on one batch; made by its ``problem``."""

    parts: tuple[StackedProblem, ...]
    shared_inputs: bool

    @classmethod
    def of(
        cls, parts: Sequence[StackedProblem], shared_inputs: bool
    ) -> "GroupedProblem":
        """The groups together; arguments as the attributes.

        Statistics of a shared input are over the samples with a label in any group, so
        that all groups have one representation. The inputs of a group of its own that
        has no label at all are not read.
        """
        if not shared_inputs:
            parts = [_without_unread(part) for part in parts]
        one = shared_inputs and all(part.tasks.x_axis is None for part in parts)
        if one and any(part.tasks.stateful for part in parts):
            masks = [is_real(part.batch.mask) for part in parts]
            seen = jnp.concatenate(masks).any(axis=0)
            parts = [dataclasses.replace(part, seen=seen) for part in parts]
        return cls(tuple(parts), shared_inputs)

    @property
    @override
    def key(self) -> Any:
        return self.parts[0].key

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(name for part in self.parts for name in part.names))

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self._concatenate([part.present for part in self.parts])

    @property
    def labels(self) -> Array:
        """How many labels each task has in this batch, ``[K]``."""
        return self._concatenate([part.labels for part in self.parts])

    @property
    def counted(self) -> Array:
        """How many labels each loss is the mean over, ``[K]``."""
        return self._concatenate([part.counted for part in self.parts])

    @property
    def model_state(self) -> Any:
        """Those of the groups, or None where none has one."""
        states = tuple(part.model_state for part in self.parts)
        return None if all(state is None for state in states) else states

    @override
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        return self._concatenate(
            [
                part.losses(own, shared_axis=shared_axis)
                for part, own in self._split(params, shared_axis)
            ]
        )

    @override
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        if shared_axis is None and passes == "vmap" and self.has_one_representation:
            written = rows_through_encoder(self, self._first, params)
            if written is not None:
                return written
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

    @override
    def task_gradients(self, params: Params) -> TaskGradients:
        found = None
        if self.has_one_representation:
            found = through_encoder(self, self._first, params)
        return super().task_gradients(params) if found is None else found

    @override
    def representation_gramian(self, points: Sequence[Point]) -> Float[Array, "K K"]:
        def products(together: Sequence[int]) -> Float[Array, "k k"]:
            own = [(self.parts[i], self._points_of(i, points)) for i in together]
            if len(own) == 1:
                return own[0][0].representation_gramian(own[0][1])
            rows = [part.representation_rows(its) for part, its in own]
            return gramian(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows))

        order = [i for together in self._by_representation for i in together]
        blocks = [products(together) for together in self._by_representation]
        names = [name for i in order for name in self.parts[i].names]
        index = np.argsort(names)
        return jax.scipy.linalg.block_diag(*blocks)[index][:, index]

    @override
    def representation(self, params: Params, *, shared_axis: int | None = None) -> Any:
        # Of a group among others it does not depend on the tasks.
        own = self._params_of(0, params, None)
        return self._first.representation(own, shared_axis=shared_axis)

    @override
    def head_losses(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        return self._concatenate(
            [
                part.head_losses(own, z, shared_axis=shared_axis)
                for part, own, z in self._on(params, representation, shared_axis)
            ]
        )

    @override
    def losses_and_head_grads(
        self, params: Params, representation: Any
    ) -> tuple[Float[Array, " K"], Any, Any]:
        found = [
            part.losses_and_head_grads(own, z)
            for part, own, z in self._on(params, representation, None)
        ]
        losses, heads, gradients = zip(*found, strict=True)
        gradients = jax.tree.map(lambda *own: self._concatenate(own), *gradients)
        return self._concatenate(losses), heads, gradients

    @override
    def losses_at_mean(self, params: Params) -> Float[Array, " K"]:
        return self._concatenate(
            [part.losses_at_mean(own) for part, own in self._split(params, None)]
        )

    @override
    def representation_gradients(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Any:
        gradients = [
            part.representation_gradients(own, z, shared_axis=shared_axis)
            for part, own, z in self._on(params, representation, shared_axis)
        ]
        return jax.tree.map(lambda *leaves: self._concatenate(leaves), *gradients)

    @override
    def weighted_representation_gradient(
        self, params: Params, representation: Any, weights: Float[Array, " K"]
    ) -> Any:
        gradients = [
            part.weighted_representation_gradient(own, z, weights[self._index_of(part)])
            for part, own, z in self._on(params, representation, None)
        ]
        return functools.reduce(optax.tree.add, gradients)

    @override
    def pullback(
        self, params: Params, weights: Float[Array, " K"], also: Any = None
    ) -> Any:
        """The shared gradient of the weighted loss: a pass through each encoder.

        Groups that act on one representation go back through it together.
        """
        if len(self.parts) == 1:
            own = self._params_of(0, params, None)
            return self.parts[0].pullback(own, weights, also)
        if also is not None or self.has_one_representation:
            return super().pullback(params, weights, also)

        def of(together: Sequence[int]) -> Any:
            parts = tuple(self.parts[i] for i in together)
            heads = tuple(params["tasks"][i] for i in together)
            if len(parts) == 1:
                own = {**params, "tasks": heads[0]}
                return parts[0].pullback(own, weights[self._index_of(parts[0])])
            some = GroupedProblem(parts, self.shared_inputs)
            index = np.searchsorted(self.names, some.names)
            return some.pullback({**params, "tasks": heads}, weights[index])

        pulled = [of(together) for together in self._by_representation]
        return functools.reduce(optax.tree.add, pulled)

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        own = self._params_of(0, params, None)
        return self._first.pull_representation(own, gradient)

    @override
    def pull_to_tasks(self, params: Params, gradient: Any) -> Any:
        own = self._params_of(0, params, None)
        found = self._first.pull_to_tasks(own, gradient)
        return None if found is None else (found,)

    @override
    def weighted_heads(self, params: Params, weights: Float[Array, " K"]) -> Any:
        each = list(self._split(params, None))
        of_groups = [weights[self._index_of(part)] for part, _ in each]
        found = [
            part.weighted_heads(own, its)
            for (part, own), its in zip(each, of_groups, strict=True)
        ]
        if all(heads is None for heads in found):
            return None
        return tuple(
            scale_heads(part.losses_and_grads(own)[1]["tasks"], its)
            if heads is None
            else heads
            for heads, (part, own), its in zip(found, each, of_groups, strict=True)
        )

    @override
    def telling_gradients(self, params: Params, heads: Any) -> Any:
        return tuple(
            part.telling_gradients(own, its)
            for (part, own), its in zip(self._split(params, None), heads, strict=True)
        )

    @override
    def sum_over_tasks(self, gradients: Any) -> Any:
        return self._first.sum_over_tasks(gradients)

    @override
    def next_model_state(self, params: Params) -> Any:
        states = tuple(
            part.next_model_state(own) for part, own in self._split(params, None)
        )
        # None, as it came: another structure would compile the step twice.
        return None if all(state is None for state in states) else states

    @override
    def split(self, parts: int) -> tuple["GroupedProblem", ...]:
        if self.shared_inputs and all(own.tasks.x_axis is None for own in self.parts):
            # One sample is in one part for all of its tasks.
            mask = self._concatenate([is_real(own.batch.mask) for own in self.parts])
            check_parts(mask.shape[1], parts)
            samples, real = deal(mask, jax.random.fold_in(self.key, 3), parts)
            groups = [
                own.dealt(samples, real[:, self._index_of(own)]) for own in self.parts
            ]
        else:
            groups = [own.split(parts) for own in self.parts]
        return tuple(
            GroupedProblem.of(piece, self.shared_inputs)
            for piece in zip(*groups, strict=True)
        )

    @override
    def auxiliary(self, params: Params) -> Any:
        found = tuple(part.auxiliary(own) for part, own in self._split(params, None))
        return None if all(aux is None for aux in found) else found

    @override
    def tasks_not_finite(self, params: Params) -> Bool[Array, " K"]:
        return self._concatenate(
            [part.tasks_not_finite(own) for part, own in self._split(params, None)]
        )

    @override
    def without(self, hidden: Bool[Array, " K"]) -> "GroupedProblem":
        parts = [part.without(hidden[self._index_of(part)]) for part in self.parts]
        return GroupedProblem.of(parts, self.shared_inputs)

    @override
    def in_parts(self, count: int) -> "GroupedProblem":
        parts = tuple(part.in_parts(count) for part in self.parts)
        return dataclasses.replace(self, parts=parts)

    @override
    def with_constants_of(self, whole: BatchProblem) -> "GroupedProblem":
        assert isinstance(whole, GroupedProblem)
        pairs = zip(self.parts, whole.parts, strict=True)
        parts = tuple(part.with_constants_of(own) for part, own in pairs)
        return dataclasses.replace(self, parts=parts)

    @override
    def cut_parts(
        self, representation: Any, count: int, *, task_axis: bool = False
    ) -> Any:
        return self._first.cut_parts(representation, count, task_axis=task_axis)

    @override
    def join_parts(self, stacked: Any, *, task_axis: bool = False) -> Any:
        return self._first.join_parts(stacked, task_axis=task_axis)

    @property
    def _by_representation(self) -> list[list[int]]:
        """The groups, those together that act on one representation."""
        found: dict[Any, list[int]] = {}
        for i, part in enumerate(self.parts):
            common = self.shared_inputs and part.tasks.z_axis is None
            found.setdefault(part.tasks.encode if common else i, []).append(i)
        return list(found.values())

    @property
    def has_one_representation(self) -> bool:
        """Whether all groups act on one representation of the same inputs."""
        return self.shared_inputs and len(self._by_representation) == 1

    @property
    def _first(self) -> StackedProblem:
        """The group whose encoder is that of all; raises where there is no such."""
        if not self.has_one_representation:
            raise UserError(
                "these groups of tasks have no representation in common: expected "
                "TaskGroups with shared_inputs=True, one encode, x_axis None, and "
                "per_task=False"
            )
        return self.parts[0]

    @property
    def _order(self) -> np.ndarray:
        return np.argsort([name for part in self.parts for name in part.names])

    def _concatenate(self, blocks: Sequence[Array]) -> Array:
        return jnp.concatenate(list(blocks))[self._order]

    def _index_of(self, part: StackedProblem) -> np.ndarray:
        """The places of a group's tasks on the task axis."""
        return np.searchsorted(self.names, part.names)

    def _split(
        self, params: Params, shared_axis: int | None
    ) -> Iterator[tuple[StackedProblem, Params]]:
        """Each group's problem with its own parameters."""
        for i, part in enumerate(self.parts):
            yield part, self._params_of(i, params, shared_axis)

    def _params_of(self, i: int, params: Params, shared_axis: int | None) -> Params:
        """The parameters of one group."""
        shared = params["shared"]
        if shared_axis is not None:
            index = self._index_of(self.parts[i])
            shared = jax.tree.map(lambda leaf: leaf[index], shared)
        return {"shared": shared, "tasks": params["tasks"][i]}

    def _points_of(self, i: int, points: Sequence[Point]) -> list[Point]:
        """The points of one group."""
        index = self._index_of(self.parts[i])
        return [
            Point(
                self._params_of(i, point.params, point.shared_axis),
                None if point.factor is None else point.factor[index],
                point.shared_axis,
            )
            for point in points
        ]

    def _on(
        self, params: Params, representation: Any, shared_axis: int | None
    ) -> Iterator[tuple[StackedProblem, Params, Any]]:
        """Each group's problem with its own parameters, and its tasks' representation.

        That is the one of all, unless every task has one of its own.
        """
        for part, own in self._split(params, shared_axis):
            z = representation
            if shared_axis is not None:
                index = self._index_of(part)
                z = jax.tree.map(lambda leaf, index=index: leaf[index], z)
            yield part, own, z


def _without_unread(part: StackedProblem) -> StackedProblem:
    """Zeros in the inputs of a group where none of its tasks has a label.

    The gradient of what is not finite is NaN, however it is weighed. Integers stay, and
    booleans: an encoder may divide by how many tokens are real.
    """
    if part.tasks.x_axis is not None:  # of every task by itself
        return part
    some, x = part.present.any(), part.batch.x
    floats = jax.tree.map(lambda leaf: jnp.where(some, leaf, 0), only_floats(x))
    batch = dataclasses.replace(part.batch, x=merge(floats, without_floats(x)))
    return dataclasses.replace(part, batch=batch)
