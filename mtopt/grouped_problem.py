"""The problem of groups of tasks: a stacked problem for each, in one task order."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.errors import UserError
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
    def representation_gramian(self, params: Params) -> Float[Array, "K K"]:
        blocks = [
            part.representation_gramian(own) for part, own in self._split(params, None)
        ]
        diagonal = jax.scipy.linalg.block_diag(*blocks)
        return diagonal[self._order][:, self._order]

    @override
    def representation(self, params: Params) -> Any:
        return self._first.representation(params)

    @override
    def head_losses(self, params: Params, representation: Any) -> Float[Array, " K"]:
        return self._concatenate(
            [
                part.head_losses(own, representation)
                for part, own in self._split(params, None)
            ]
        )

    @override
    def representation_gradients(self, params: Params, representation: Any) -> Any:
        gradients = [
            part.representation_gradients(own, representation)
            for part, own in self._split(params, None)
        ]
        return jax.tree.map(lambda *leaves: self._concatenate(leaves), *gradients)

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        return self._first.pull_representation(params, gradient)

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
        pieces = zip(*(group.split(parts) for group in self.parts), strict=True)
        return tuple(GroupedProblem(piece, self.shared_inputs) for piece in pieces)

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
        parts = tuple(
            part.without(hidden[np.searchsorted(self.names, part.names)])
            for part in self.parts
        )
        return dataclasses.replace(self, parts=parts)

    @override
    def in_parts(self, count: int) -> "GroupedProblem":
        parts = tuple(part.in_parts(count) for part in self.parts)
        return dataclasses.replace(self, parts=parts)

    @override
    def cut_parts(self, representation: Any, count: int) -> Any:
        return self._first.cut_parts(representation, count)

    @override
    def join_parts(self, stacked: Any, *, task_axis: bool = False) -> Any:
        return self._first.join_parts(stacked, task_axis=task_axis)

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

    def _concatenate(self, blocks: Sequence[Array]) -> Array:
        return jnp.concatenate(list(blocks))[self._order]

    def _split(
        self, params: Params, shared_axis: int | None
    ) -> Iterator[tuple[StackedProblem, Params]]:
        """Each group's problem with its own parameters."""
        for part, heads in zip(self.parts, params["tasks"], strict=True):
            shared = params["shared"]
            if shared_axis is not None:
                index = np.searchsorted(self.names, part.names)
                shared = jax.tree.map(lambda leaf, index=index: leaf[index], shared)
            yield part, {"shared": shared, "tasks": heads}
