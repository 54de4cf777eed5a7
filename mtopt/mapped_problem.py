"""A function of every loss in place of the loss: an evaluation, and its problem."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.evaluation import Evaluation
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import scale_rows
from mtopt.per_task import scale_heads
from mtopt.points import Point
from mtopt.problem import Params, Problem

Mapped = tuple[Float[Array, " K"], Float[Array, " K"]]  # values, slopes


@dataclasses.dataclass(frozen=True)
class MappedProblem(Problem):
    """A problem of which every loss is a function of another's.

    Attributes:
      problem: the other; None where an evaluation knows none.
    """

    problem: Any

    @abc.abstractmethod
    def of_losses(
        self, losses: Float[Array, " K"], present: Bool[Array, " K"]
    ) -> Mapped:
        """The mapped losses, and the slopes of the function.

        Args:
          losses: ``[K]``.
          present: which tasks take part, ``[K]``.
        """

    def mapped(self, losses: Float[Array, " K"]) -> Mapped:
        """What becomes of the losses of this problem."""
        return self.of_losses(losses, self.present)

    def view(self, evaluation: Evaluation) -> Evaluation:
        """An evaluation of the other problem as one of this: losses and gradients.

        Gradients that were taken at another point have the slopes there.

        Args:
          evaluation: which knows the losses.
        """
        values, slopes = self.of_losses(evaluation.losses, evaluation.present)
        known = evaluation.knows
        problem = evaluation.problem if known("problem") else None
        points = evaluation.points
        if isinstance(points, tuple) and not evaluation.unchanged:
            there = [
                self._slopes(evaluation.problem, point, evaluation.present)
                for point in points
            ]
            if len(points) == 1:
                slopes = there[0]
            # Of a sum over points every term is on the scale of the sum.
            each = zip(points, there, strict=True)
            points = tuple(point.times(slopes / own) for point, own in each)
        return evaluation.replace(
            losses=values,
            rows=scale_rows(slopes, evaluation.rows),
            heads=scale_heads(evaluation.heads, slopes) if known("heads") else None,
            problem=problem and dataclasses.replace(self, problem=problem),
            unchanged=evaluation.unchanged,
            points=points,
        )

    def _slopes(
        self, problem: Problem, point: Point, present: Bool[Array, " K"]
    ) -> Float[Array, " K"]:
        """The slopes of the function at the losses of a point."""
        losses = problem.losses(point.params, shared_axis=point.shared_axis)
        return self.of_losses(losses, present)[1]

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self.problem.names

    @property
    @override
    def key(self) -> Any:
        return self.problem.key

    @property
    def present(self) -> Bool[Array, " K"]:
        """True for tasks with at least one label in this batch."""
        return self.problem.present

    @property
    def labels(self) -> Array:
        """How many labels each task has in the batch, or their weight, ``[K]``."""
        return self.problem.labels

    @override
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        losses = self.problem.losses(params, shared_axis=shared_axis)
        return self.mapped(losses)[0]

    @override
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        losses, grads = self.problem.losses_and_grads(
            params, shared_axis=shared_axis, passes=passes
        )
        logs, slopes = self.mapped(losses)
        heads = scale_heads(grads["tasks"], slopes)
        return logs, {"shared": scale_rows(slopes, grads["shared"]), "tasks": heads}

    @override
    def pullback(
        self, params: Params, weights: Float[Array, " K"], also: Any = None
    ) -> Any:
        losses = self.problem.losses(params)
        _, slopes = self.mapped(losses)
        return self.problem.pullback(params, weights * slopes, also)

    @override
    def task_gradients(self, params: Params) -> TaskGradients:
        slopes = self.mapped(self.problem.losses(params))[1]
        return self.problem.task_gradients(params).scaled(slopes)

    @override
    def representation(self, params: Params, *, shared_axis: int | None = None) -> Any:
        return self.problem.representation(params, shared_axis=shared_axis)

    @override
    def head_losses(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        losses = self.problem.head_losses(
            params, representation, shared_axis=shared_axis
        )
        return self.mapped(losses)[0]

    @override
    def losses_at_mean(self, params: Params) -> Float[Array, " K"]:
        return self.mapped(self.problem.losses_at_mean(params))[0]

    @override
    def representation_gradients(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Any:
        known = params, representation
        losses = self.problem.head_losses(*known, shared_axis=shared_axis)
        gradients = self.problem.representation_gradients(
            *known, shared_axis=shared_axis
        )
        return scale_rows(self.mapped(losses)[1], gradients)

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        return self.problem.pull_representation(params, gradient)

    @override
    def pull_to_tasks(self, params: Params, gradient: Any) -> Any:
        return self.problem.pull_to_tasks(params, gradient)

    @override
    def weighted_heads(self, params: Params, weights: Float[Array, " K"]) -> Any:
        _, slopes = self.mapped(self.problem.losses(params))
        return self.problem.weighted_heads(params, weights * slopes)

    @override
    def sum_over_tasks(self, gradients: Any) -> Any:
        return self.problem.sum_over_tasks(gradients)

    @override
    def representation_gramian(self, points: Sequence[Point]) -> Float[Array, "K K"]:
        return self.problem.representation_gramian(
            [
                point.times(self._slopes(self.problem, point, self.present))
                for point in points
            ]
        )

    @override
    def next_model_state(self, params: Params) -> Any:
        return self.problem.next_model_state(params)

    @override
    def tasks_not_finite(self, params: Params) -> Bool[Array, " K"]:
        return self.problem.tasks_not_finite(params)

    @override
    def split(self, parts: int) -> "tuple[MappedProblem, ...]":
        pieces = self.problem.split(parts)
        return tuple(dataclasses.replace(self, problem=piece) for piece in pieces)
