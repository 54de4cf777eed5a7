"""A penalty on the representation, beside the losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.errors import expect
from mtopt.linalg import scale_rows
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

      >>> import mtopt
      >>> def activity(problem, params, representation):
      ...     return jnp.mean(representation**2)
      >>> tx = add_penalty(mtopt.mgda(2), activity, 0.1)
      >>> problem, params = mtopt.linear_problem(jnp.eye(2), jnp.ones(2))
      >>> params["shared"] = jnp.array([10., 0.])
      >>> _, grads = problem.losses_and_grads(params)
      >>> direction, _ = tx.update(grads, tx.init(params), params, problem=problem)
      >>> print((10 * direction["shared"]).astype(int))
      [15  5]
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
        pullback=None,
        **extra,
    ):
        if problem is None or params is None:
            raise TypeError("add_penalty.update() missing 'params' or 'problem'")
        if penalties is not None:  # it is for a part of the direction without any
            own = _Gradient(problem, params, penalty, coefficient)
            penalties = (*penalties, own)
            pullback = None if pullback is None else own.pullback
        extra.update(problem=problem, penalties=penalties)
        if pullback is not None:
            extra["pullback"] = pullback
        return aggregator.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(
        aggregator.init,
        update,  # pyright: ignore[reportArgumentType]
    )


class _Gradient:
    """The gradient of a penalty, alone or pulled back together with the losses."""

    def __init__(
        self,
        problem: Problem,
        params: Params,
        penalty: Penalty,
        coefficient: float | int,
    ):
        self._problem, self._params = problem, params
        self._representation = problem.representation(params)

        def value(representation, own):
            total = penalty(problem, {**params, "tasks": own}, representation)
            return coefficient * total

        self._of_representation, self._of_heads = jax.grad(value, argnums=(0, 1))(
            self._representation, params["tasks"]
        )

    def pullback(self, weights: Float[Array, " K"]) -> Any:
        """The shared gradient of the weighted loss and the penalty, in one pass."""
        gradients = self._problem.representation_gradients(
            self._params, self._representation
        )
        weighted = self._problem.sum_over_tasks(scale_rows(weights, gradients))
        total = jax.tree.map(jnp.add, weighted, self._of_representation)
        return self._problem.pull_representation(self._params, total)

    def add_to(self, direction: Params, summed_by: Callable[..., Any]) -> Params:
        """The direction with this gradient, which is in it if ``pullback`` made it."""
        shared, own = direction["shared"], direction["tasks"]
        if summed_by != self.pullback:
            pulled = self._problem.pull_representation(
                self._params, self._of_representation
            )
            shared = jax.tree.map(jnp.add, shared, pulled)
        return {"shared": shared, "tasks": jax.tree.map(jnp.add, own, self._of_heads)}
