"""CR-MOGM: the running mean of an aggregator's weights."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import present_tasks, weights_of
from mtopt.errors import UserError, expect
from mtopt.wrappers.wrapped import init_wrapped


class SmoothedState(NamedTuple):
    """State of :func:`smoothed_weights`.

    Attributes:
      average: the running mean of every task's weight, ``[K]``.
      seen: whether there was one yet, ``[K]``.
      aggregator: the state of the wrapped one, with the smoothed ``weights``.
    """

    average: Float[Array, " K"]
    seen: Bool[Array, " K"]
    aggregator: Any


def smoothed_weights(
    aggregator: optax.GradientTransformationExtraArgs, *, alpha: float | int = 0.9
) -> optax.GradientTransformationExtraArgs:
    r"""Applies the running mean of an aggregator's weights (CR-MOGM).

    .. math:: \lambda^t = \alpha \lambda^{t-1} + (1 - \alpha) \hat\lambda^t,
              \qquad d = \sum_k \lambda^t_k g_k

    with :math:`\hat\lambda` the weights that the aggregator finds. Solved from a batch,
    they depend on the same noise as the gradients that they multiply, which biases the
    direction; the running mean hardly does.

    Args:
      aggregator: any aggregator. One that sums rows of its own making has those summed
        with the smoothed weights.
      alpha: in [0, 1), the share of the past; 0 is the aggregator itself.

    Returns:
      An aggregator. The mean starts at a task's first weight, and a batch without the
      task leaves it as it is; weights in a convex combination then sum to 1 while the
      same tasks are present.

    Raises:
      UserError: for an alpha out of range, or (on init) where a chain is wrapped.

    Example:
      >>> import mtopt
      >>> tx = smoothed_weights(mtopt.mgda(2), alpha=0.5)
      >>> state = tx.init(jnp.zeros(2))
      >>> for rows in ([[1., 0.], [0., 1.]], [[1., 0.], [1., 1.]]):
      ...     direction, state = tx.update(jnp.array(rows), state)
      >>> [round(float(w), 3) for w in optax.tree.get(state, "weights")]
      [0.75, 0.25]
      >>> print(direction.round(3))
      [1.   0.25]

    References:
      Zhou et al., On the Convergence of Stochastic Multi-Objective Gradient
      Manipulation and Beyond, 2022, NeurIPS.
    """
    expect(0 <= alpha < 1, "alpha", alpha, "a number from 0 to below 1")

    def init(params):
        inner, weights = init_wrapped(aggregator, params)
        return SmoothedState(weights, jnp.zeros(weights.shape, bool), inner)

    def update(
        updates,
        state,
        params=None,
        *,
        weights=None,
        reweigh=None,
        present=None,
        **extra,
    ):
        if reweigh is not None:
            raise UserError(
                "smoothed_weights inside of smoothed_weights: expected one of them"
            )
        num_tasks = state.average.shape[0]
        present = present_tasks(num_tasks, present, extra.get("problem"))
        extra["present"] = present
        if weights is not None:
            direction, inner = aggregator.update(
                updates, state.aggregator, params, weights=weights, **extra
            )
            return direction, state._replace(aggregator=inner)

        def smooth(new):
            mean = alpha * state.average + (1 - alpha) * new
            return jnp.where(state.seen, mean, new)

        direction, inner = aggregator.update(
            updates, state.aggregator, params, reweigh=smooth, **extra
        )
        average = jnp.where(present, weights_of(inner), state.average)
        return direction, SmoothedState(average, state.seen | present, inner)

    return optax.GradientTransformationExtraArgs(init, update)
