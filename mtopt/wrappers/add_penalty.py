"""A penalty on the representation, beside the losses."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import steepest
from mtopt.options import Number, is_zero
from mtopt.problem import Params, Problem
from mtopt.rule import PenaltyGradient

Penalty = Callable[[Problem, Params, Any], Float[Array, ""]]


def add_penalty(
    aggregator: optax.GradientTransformation,
    penalty: Penalty,
    coefficient: Number,
) -> Aggregator:
    r"""Adds the gradient of a penalty to the direction of an aggregator.

    .. math:: d = \sum_k w_k g_k + \lambda \nabla P(Z, \theta_1, \dots, \theta_K)

    with Z the representation and :math:`\theta_k` the tasks' own parameters, which get
    their share of the gradient too, unweighted. The penalty may hold derivatives of the
    losses with respect to Z: they and their derivatives are passes through the heads.
    From Z back to the shared parameters there is one pass, and where the aggregator
    weighs the losses it is the one that the weighted loss takes anyway.

    Args:
      aggregator: any aggregator.
      penalty: ``(problem, params, representation) -> scalar``; it reads the heads from
        ``params["tasks"]``, and Z from its third argument alone.
      coefficient: lambda, at least 0; a plain 0 is the aggregator.

    Returns:
      An aggregator; it needs a problem.

    Raises:
      UserError: for a negative coefficient, for a chain in place of an aggregator, or
        (on update) for groups of tasks without a common representation.

    Example:
      Activity regularisation, the mean square of the features:

      >>> import jax.numpy as jnp, mtopt
      >>> def activity(problem, params, representation):
      ...     return jnp.mean(representation**2)
      >>> tx = add_penalty(mtopt.mgda(2), activity, 0.1)
      >>> problem, params = mtopt.linear_problem(jnp.eye(2), jnp.ones(2))
      >>> params["shared"] = jnp.array([10., 0.])
      >>> seen = problem.evaluate(params)
      >>> direction, _ = tx.update(
      ...     seen.gradients, tx.init(params), params, evaluation=seen)
      >>> [round(float(entry), 3) for entry in direction["shared"]]
      [1.5, 0.5]
    """
    expect_number("coefficient", coefficient, at_least=0)
    rule = rule_of(aggregator, "add_penalty")
    if is_zero(coefficient):
        return Aggregator(rule)

    def gradients(evaluation: Evaluation) -> tuple[PenaltyGradient, ...]:
        problem, params = evaluation.problem, evaluation.params

        def value(representation: Any, own: Any) -> Float[Array, ""]:
            total = penalty(problem, {**params, "tasks": own}, representation)
            return coefficient * total

        by_both = jax.grad(value, argnums=(0, 1))
        own = steepest(by_both(problem.representation(params), params["tasks"]))
        return (*rule.penalty(evaluation), PenaltyGradient(*own))

    return Aggregator(rule.replace(penalty=gradients))
