"""Any aggregator on the logarithms of the losses."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import UserError, expect_number
from mtopt.mapped_problem import Mapped, MappedProblem
from mtopt.options import Number, is_traced
from mtopt.rule import greatest

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
      UserError: for an epsilon that is not above 0, a chain in place of an aggregator,
        or one that has to see the losses themselves.

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

    rule = rule_of(aggregator, "log_losses")
    if not rule.takes_logs:
        raise UserError(
            "log_losses got an aggregator in outlier_weighted, which sees how much of "
            "a loss is explained, and of logarithms cannot: write "
            "outlier_weighted(log_losses(...)), not the other way round"
        )
    least = _least(rule.least_losses, epsilon)
    return Aggregator(rule.on(LogProblem(None, epsilon).view, least_losses=least))


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["problem", "epsilon"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class LogProblem(MappedProblem):
    """A problem of which every loss is the logarithm of another's.

    The log loss of an absent task is 0.

    Attributes:
      epsilon: what is added to its losses.
    """

    epsilon: Number

    @override
    def of_losses(
        self, losses: Float[Array, " K"], present: Bool[Array, " K"]
    ) -> Mapped:
        raised = jnp.where(present, jnp.maximum(losses, 0) + self.epsilon, 1)
        return jnp.log(raised), 1 / raised


def _least(of_logs: Any, epsilon: Number) -> Any:
    """The lowest losses whose logarithms are not below the lowest that a rule takes."""
    if of_logs is None:
        return 0.0
    xp = jnp if is_traced((of_logs, epsilon)) else np
    return greatest(0.0, xp.exp(of_logs) - epsilon)
