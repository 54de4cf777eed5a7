"""A batch evaluated part after part, in the memory of one: exact gradient accumulation.

Averaging the directions of several batches is another method than one direction of
their common gradients: a solve is not linear. Here the losses and per-task gradients of
the parts are averaged, each task's by its own labels, and one aggregation follows.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.batch import divisor
from mtopt.errors import UserError
from mtopt.linalg import scale_rows
from mtopt.per_task import scale_heads
from mtopt.points import Point
from mtopt.problem import BatchProblem, Params, Problem


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["whole", "parts"],
    meta_fields=["count"],
)
@dataclasses.dataclass(frozen=True)
class MicroBatches(Problem):
    r"""A problem whose batch is evaluated in M equal parts, one after another.

    .. math:: L_k = \sum_m \frac{n_k^m}{n_k} L_k^m

    with :math:`n_k^m` the labels of task k in part m, of pixels each, or their weight.
    It equals the problem on the whole batch for losses that are means over labels, as
    :func:`mtopt.masked_mean`.

    Attributes:
      whole: the problem on the whole batch.
      parts: the M problems, stacked: leaves ``[M, ...]``.
      count: M.
    """

    whole: Any
    parts: Any
    count: int

    @classmethod
    def of(cls, problem: BatchProblem, count: int) -> "MicroBatches":
        """The problem in ``count`` parts.

        Args:
          problem: on the whole batch.
          count: M, which divides the number of samples.

        Raises:
          UserError: where it does not, or the model couples the samples of a batch.
        """
        return cls(problem, problem.in_parts(count), count)

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self.whole.names

    @property
    @override
    def key(self) -> Any:
        return self.whole.key

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in the whole batch."""
        return self.whole.present

    @property
    def labels(self) -> Array:
        """How many labels each task has in the batch, or their weight, ``[K]``."""
        return self.whole.labels

    @override
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        return self._sum(
            lambda part, share: share * part.losses(params, shared_axis=shared_axis)
        )

    @override
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        def weighted(part: Problem, share: Any) -> tuple[Any, Params]:
            losses, grads = part.losses_and_grads(
                params, shared_axis=shared_axis, passes=passes
            )
            rows = scale_rows(share, grads["shared"])
            heads = scale_heads(grads["tasks"], share)
            return share * losses, {"shared": rows, "tasks": heads}

        return self._sum(weighted)

    @override
    def pullback(
        self, params: Params, weights: Float[Array, " K"], also: Any = None
    ) -> Any:
        if also is not None:
            return super().pullback(params, weights, also)
        return self._sum(lambda part, share: part.pullback(params, share * weights))

    @override
    def representation(self, params: Params, *, shared_axis: int | None = None) -> Any:
        stacked = jax.lax.map(
            lambda part: self._own(part).representation(
                params, shared_axis=shared_axis
            ),
            self.parts,
        )
        return self.whole.join_parts(stacked, task_axis=shared_axis is not None)

    @override
    def head_losses(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        def one(part: Problem, share: Any, z: Any) -> Any:
            return share * part.head_losses(params, z, shared_axis=shared_axis)

        return self._sum(one, self._cut(representation, shared_axis))

    @override
    def losses_at_mean(self, params: Params) -> Float[Array, " K"]:
        return self._sum(lambda part, share: share * part.losses_at_mean(params))

    @override
    def representation_gradients(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Any:
        def one(part: Problem, share: Any, z: Any) -> Any:
            return scale_rows(
                share,
                part.representation_gradients(params, z, shared_axis=shared_axis),
            )

        pieces = self.parts, self._cut(representation, shared_axis)
        gradients = jax.lax.map(self._with_share(one), pieces)
        return self.whole.join_parts(gradients, task_axis=True)

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        return self._sum(
            lambda part, share, own: part.pull_representation(params, own),
            self._cut(gradient),
        )

    @override
    def pull_to_tasks(self, params: Params, gradient: Any) -> Any:
        return self._sum(
            lambda part, share, own: part.pull_to_tasks(params, own),
            self._cut(gradient),
        )

    @override
    def weighted_heads(self, params: Params, weights: Float[Array, " K"]) -> Any:
        return self._sum(
            lambda part, share: part.weighted_heads(params, share * weights)
        )

    @override
    def sum_over_tasks(self, gradients: Any) -> Any:
        return self.whole.sum_over_tasks(gradients)

    @override
    def representation_gramian(self, points: Sequence[Point]) -> Float[Array, "K K"]:
        def one(part: Problem, share: Any) -> Any:
            return part.representation_gramian(points) * jnp.outer(share, share)

        return self._sum(one)

    @override
    def next_model_state(self, params: Params) -> Any:
        return self.whole.model_state

    @override
    def auxiliary(self, params: Params) -> Any:
        return self._sum(lambda part, share: scale_rows(share, part.auxiliary(params)))

    @override
    def tasks_not_finite(self, params: Params) -> Bool[Array, " K"]:
        found = jax.lax.map(
            lambda part: self._own(part).tasks_not_finite(params), self.parts
        )
        return found.any(axis=0)

    @override
    def split(self, parts: int) -> tuple["MicroBatches", ...]:
        raise UserError(
            "this method splits its batch into independent parts, and the batch is "
            f"evaluated in {self.count} micro-batches: expected micro_batches=1, or a "
            "method that does not split (the table of methods says which do)"
        )

    def _own(self, part: Any) -> Any:
        """One of the parts, with the constants, which are not stacked."""
        return part.with_constants_of(self.whole)

    def _cut(self, representation: Any, shared_axis: int | None = None) -> Any:
        """A tree like the representation in the M parts, leaves ``[M, ...]``."""
        task_axis = shared_axis is not None
        return self.whole.cut_parts(representation, self.count, task_axis=task_axis)

    def _sum(self, function: Callable[..., Any], *pieces: Any) -> Any:
        """The sum of ``function(part, share [K], piece...)`` over all parts."""
        one, everything = self._with_share(function), (self.parts, *pieces)
        first = jax.tree.map(lambda leaf: leaf[0], everything)
        nothing = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, first)
        )

        def add(total: Any, inputs: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, one(inputs)), None

        return jax.lax.scan(add, nothing, everything)[0]

    def _with_share(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        """The function of a part and its pieces, which is told the part's share."""

        def one(inputs: Any) -> Any:
            part, *own = inputs
            part = self._own(part)
            share = part.counted / divisor(self.whole.counted)
            return function(part, share, *own)

        return one
