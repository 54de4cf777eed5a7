"""A problem of which every loss is that of another times a constant."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.evaluation import Evaluation
from mtopt.mapped_problem import Mapped, MappedProblem
from mtopt.points import factor_of
from mtopt.problem import Problem


def on_scale_of_rows(evaluation: Evaluation) -> Problem:
    """The problem, on the scale that transformations before a method gave the rows.

    For a method that evaluates losses itself, as on parts of the batch: behind
    :func:`mtopt.normalize_rows` they are in the units that rows are in. Rows that were
    taken at other points, or averaged over steps, leave the problem what it is.

    Args:
      evaluation: of the step.
    """
    factor = factor_of(evaluation.points)
    if factor is None:
        return evaluation.problem
    return ScaledProblem(evaluation.problem, factor)


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
