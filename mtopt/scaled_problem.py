"""A problem of which every loss is that of another times a constant."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.evaluation import Evaluation
from mtopt.mapped_problem import Mapped, MappedProblem
from mtopt.points import one_point
from mtopt.problem import Params, Problem


def problem_of_rows(evaluation: Evaluation, reader: str) -> tuple[Problem, Params]:
    """The problem and the point whose gradients the rows are, for parts of its batch.

    A method that evaluates losses itself sees them on the scale that transformations
    before it gave the rows.

    Args:
      evaluation: whose rows.
      reader: the method, for the error.

    Raises:
      UserError: where the rows are the gradients of all tasks at no one point, behind
        :func:`mtopt.per_task_sam` or :func:`mtopt.task_momentum`.
    """
    point = one_point(evaluation.points, reader)
    if point.factor is None:
        return evaluation.problem, point.params
    return ScaledProblem(evaluation.problem, point.factor), point.params


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["problem", "factor"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class ScaledProblem(MappedProblem):
    """A problem of which every loss is that of another times a constant.

    Attributes:
      factor: the constants, ``[K]``.
    """

    factor: Float[Array, " K"]

    @override
    def of_losses(
        self, losses: Float[Array, " K"], present: Bool[Array, " K"]
    ) -> Mapped:
        factor = self.factor.astype(losses.dtype)
        return losses * factor, jnp.broadcast_to(factor, losses.shape)

    @override
    def least(self, least_losses: Any) -> Any:
        return least_losses and least_losses / self.factor
