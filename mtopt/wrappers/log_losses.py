"""Any aggregator on the logarithms of the losses."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import scale_rows
from mtopt.options import Number
from mtopt.per_task import scale_heads
from mtopt.problem import Params, Problem

EPSILON = 1e-8


def log_losses(
    aggregator: optax.GradientTransformation, *, epsilon: Number = EPSILON
) -> Aggregator:
    r"""An aggregator of the log losses, which the unit of no loss can change.

    .. math:: \tilde L_k = \log(L_k + \epsilon), \qquad
              \tilde g_k = \frac{g_k}{L_k + \epsilon}

    Everything that the aggregator sees is of the log losses: the rows, the losses, the
    pulled-back gradient, the heads' own gradients, and the problem, should it ask for
    losses elsewhere, for parts of the batch or for the representation. Around equal
    weighting it is scale-invariant scalarization over K; around a method that is
    invariant to the scale of the rows it changes nothing but the heads.

    Args:
      aggregator: any aggregator. Its weights are those of the log losses.
      epsilon: above 0, in units of the losses; what keeps a loss of 0 finite.

    Returns:
      An aggregator with the state of the inner one. It reads the losses, which must
      not be negative: a negative loss counts as one of 0.

    Raises:
      UserError: for an epsilon that is not above 0, or a chain in place of an
        aggregator.

    Example:
      >>> import mtopt
      >>> tx = log_losses(mtopt.equal_weighting(2))
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> known = mtopt.Evaluation(losses=jnp.array([2., 4.]))
      >>> direction, _ = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)), evaluation=known)
      >>> direction.tolist()
      [-0.25, 0.375, 0.375]

    References:
      Dai et al., Improvable Gap Balancing for Multi-Task Learning, 2023, arXiv
      2307.15429, and Ban and Ji, Fair Resource Allocation in Multi-Task Learning,
      2024, arXiv 2402.15638: their code combines log losses with gradient methods.

    Differences from released code:
      Their logarithms have no epsilon; 1e-8 is that of DB-MTL and FAMO.
    """
    expect_number("epsilon", epsilon, above=0)

    def of_logarithms(evaluation: Evaluation) -> Evaluation:
        logs, slopes = _log(evaluation.losses, evaluation.present, epsilon)
        known = evaluation.knows
        problem = LogProblem(evaluation.problem, epsilon) if known("problem") else None
        return evaluation.replace(
            losses=logs,
            rows=scale_rows(slopes, evaluation.rows),
            heads=scale_heads(evaluation.heads, slopes) if known("heads") else None,
            problem=problem,
            unchanged=evaluation.unchanged,
        )

    return Aggregator(rule_of(aggregator, "log_losses").on(of_logarithms))


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["problem", "epsilon"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class LogProblem(Problem):
    """A problem of which every loss is the logarithm of another's.

    The log loss of an absent task is 0.

    Attributes:
      problem: the other.
      epsilon: what is added to its losses.
    """

    problem: Any
    epsilon: Number

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

    @override
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        losses = self.problem.losses(params, shared_axis=shared_axis)
        return _log(losses, self.present, self.epsilon)[0]

    @override
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        losses, grads = self.problem.losses_and_grads(
            params, shared_axis=shared_axis, passes=passes
        )
        logs, slopes = _log(losses, self.present, self.epsilon)
        heads = scale_heads(grads["tasks"], slopes)
        return logs, {"shared": scale_rows(slopes, grads["shared"]), "tasks": heads}

    @override
    def pullback(
        self, params: Params, weights: Float[Array, " K"], also: Any = None
    ) -> Any:
        losses = self.problem.losses(params)
        _, slopes = _log(losses, self.present, self.epsilon)
        return self.problem.pullback(params, weights * slopes, also)

    @override
    def representation(self, params: Params) -> Any:
        return self.problem.representation(params)

    @override
    def head_losses(self, params: Params, representation: Any) -> Float[Array, " K"]:
        losses = self.problem.head_losses(params, representation)
        return _log(losses, self.present, self.epsilon)[0]

    @override
    def representation_gradients(self, params: Params, representation: Any) -> Any:
        losses = self.problem.head_losses(params, representation)
        _, slopes = _log(losses, self.present, self.epsilon)
        return scale_rows(
            slopes, self.problem.representation_gradients(params, representation)
        )

    @override
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        return self.problem.pull_representation(params, gradient)

    @override
    def sum_over_tasks(self, gradients: Any) -> Any:
        return self.problem.sum_over_tasks(gradients)

    @override
    def representation_gramian(self, params: Params) -> Float[Array, "K K"]:
        losses = self.problem.losses(params)
        _, slopes = _log(losses, self.present, self.epsilon)
        products = self.problem.representation_gramian(params)
        return products * slopes[:, None] * slopes[None, :]

    @override
    def next_model_state(self, params: Params) -> Any:
        return self.problem.next_model_state(params)

    @override
    def tasks_not_finite(self, params: Params) -> Bool[Array, " K"]:
        return self.problem.tasks_not_finite(params)

    @override
    def split(self, parts: int) -> tuple["LogProblem", ...]:
        return tuple(
            LogProblem(part, self.epsilon) for part in self.problem.split(parts)
        )


def _log(
    losses: Float[Array, " K"], present: Bool[Array, " K"], epsilon: Number
) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
    """The log losses and their slopes; 0 and 1 for absent tasks."""
    raised = jnp.where(present, jnp.maximum(losses, 0) + epsilon, 1)
    return jnp.log(raised), 1 / raised
