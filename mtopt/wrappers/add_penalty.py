"""A penalty on the representation, beside the losses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float

from mtopt.errors import expect
from mtopt.problem import Params, Problem

Penalty = Callable[[Problem, Params, Any], Float[Array, ""]]


def add_penalty(
    aggregator: optax.GradientTransformationExtraArgs,
    penalty: Penalty,
    coefficient: float | int,
) -> optax.GradientTransformationExtraArgs:
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
      coefficient: lambda, at least 0; 0 is the aggregator.

    Returns:
      An aggregator; it needs ``problem`` and the parameters.

    Raises:
      UserError: for a negative coefficient, or (on update) for groups of tasks without
        a common representation.

    Example:
      Activity regularisation, the mean square of the features:

      >>> import jax.numpy as jnp, mtopt
      >>> def activity(problem, params, representation):
      ...     return jnp.mean(representation**2)
      >>> tx = add_penalty(mtopt.mgda(2), activity, 0.1)
      >>> problem, params = mtopt.linear_problem(jnp.eye(2), jnp.ones(2))
      >>> params["shared"] = jnp.array([10., 0.])
      >>> _, grads = problem.losses_and_grads(params)
      >>> direction, _ = tx.update(grads, tx.init(params), params, problem=problem)
      >>> [round(float(entry), 3) for entry in direction["shared"]]
      [1.5, 0.5]
    """
    expect(coefficient >= 0, "coefficient", coefficient, "a number of at least 0")
    if coefficient == 0:
        return aggregator

    def update(
        updates,
        state,
        params=None,
        *,
        problem=None,
        penalties=(),
        **extra,
    ):
        if penalties is None:  # it is a part of the direction that has none
            known = {} if problem is None else {"problem": problem}
            return aggregator.update(
                updates, state, params, penalties=None, **known, **extra
            )
        if problem is None or params is None:
            raise TypeError("add_penalty.update() missing 'params' or 'problem'")
        own = _gradient(problem, params, penalty, coefficient)
        return aggregator.update(
            updates,
            state,
            params,
            problem=problem,
            penalties=(*penalties, own),
            **extra,
        )

    return optax.GradientTransformationExtraArgs(
        aggregator.init,
        update,  # pyright: ignore[reportArgumentType]
    )


class PenaltyGradient(NamedTuple):
    """The gradient of a penalty, on its way into a direction.

    Attributes:
      representation: with respect to the representation; the aggregator pulls it back,
        in the pass of the weighted loss where it takes one.
      heads: with respect to the tasks' own parameters.
    """

    representation: Any
    heads: Any


def _gradient(
    problem: Problem, params: Params, penalty: Penalty, coefficient: float | int
) -> PenaltyGradient:
    def value(representation, own):
        total = penalty(problem, {**params, "tasks": own}, representation)
        return coefficient * total

    representation = problem.representation(params)
    by_both = jax.grad(value, argnums=(0, 1))
    return PenaltyGradient(*by_both(representation, params["tasks"]))
