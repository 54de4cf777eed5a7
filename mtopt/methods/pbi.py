"""Penalty-based boundary intersection: go down a ray, and stay on it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.methods.tchebycheff import preferred_share, zeros_or
from mtopt.options import Number, Numbers
from mtopt.registry import method

SMOOTHING = 1e-12
SMALLEST = 1e-20


@method(family="losses")
def pbi(
    num_tasks: int,
    *,
    theta: Number = 5.0,
    preference: Numbers | None = None,
    ideal: Numbers | None = None,
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends along a ray of losses and punishes the distance from it (PBI).

    .. math::
       L = d_1 + \theta \, d_2,
       \qquad u = \frac{\lambda}{\|\lambda\|},
       \qquad d_1 = \langle \ell - z, u \rangle,
       \qquad d_2 = \| \ell - z - d_1 u \|,
       \qquad w = \frac{\partial L}{\partial \ell}

    over the losses :math:`\ell` of the tasks present in the batch. The weight of a
    loss far below the ray is negative: that loss is raised until the losses stand in
    the proportion lambda.

    Args:
      num_tasks: K, at least 1.
      theta: the penalty, at least 0; 5 in MOEA/D.
      preference: lambda, K numbers above 0 in the sorted order of the task names;
        only their proportion counts. None: all equal.
      ideal: z, K numbers, losses that no task can go below. None: zeros, for
        losses that stay above zero.
      heads: ``"weighted"`` differentiates the scalarised loss; ``"plain"`` leaves a
        head its own gradient.

    Returns:
      An aggregator; it reads the losses.

    Raises:
      UserError: for a negative theta, or a preference or ideal point that is not as
        above.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = pbi(2, theta=1)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = jax.jit(tx.update)(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 1.])))
      >>> [abs(round(float(w), 3)) for w in state.weights]
      [1.414, 0.0]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient:
      another d; all zero: d = 0.

    References:
      Zhang and Li, MOEA/D: A Multiobjective Evolutionary Algorithm Based on
      Decomposition, 2007, IEEE Transactions on Evolutionary Computation (not on
      arXiv).

    Differences from released code:
      TorchJD smooths d_2 with 1e-12 under its root, here relative to the largest
      distance from z, so that the gradient vanishes on the ray for losses of any size.
    """
    expect_number("theta", theta, at_least=0)
    shares_among = preferred_share(preference, num_tasks)
    start = zeros_or("ideal", ideal, num_tasks)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        ray = shares_among(present)
        return jax.grad(pbi_loss)(losses, ray, start, theta, present), memory

    return weighting(num_tasks, weigh, heads=heads, least_losses=start)


def pbi_loss(
    losses: Float[Array, " K"],
    preference: Float[Array | np.ndarray, " K"],
    ideal: Float[Array | np.ndarray, " K"],
    theta: Number,
    present: Bool[Array, " K"] | None = None,
) -> Float[Array, ""]:
    """The way along the ray, and theta times the distance from it.

    Args:
      losses: ``[K]``.
      preference: lambda, ``[K]``, above 0.
      ideal: z, ``[K]``.
      theta: the penalty.
      present: the tasks that count, ``[K]``; None: all.

    Example:
      >>> import jax.numpy as jnp
      >>> ray = jnp.array([3., 4.])
      >>> float(pbi_loss(2 * ray, ray, jnp.zeros(2), 0.))
      10.0
    """
    if present is None:
        present = jnp.ones(losses.shape, bool)
    ray = jnp.where(present, preference, 0)
    ray = ray / jnp.maximum(jnp.linalg.norm(ray), SMALLEST)
    gaps = jnp.where(present, losses - ideal, 0)
    scale = jax.lax.stop_gradient(jnp.maximum(jnp.abs(gaps).max(), SMALLEST))
    gaps = gaps / scale
    along = gaps @ ray
    across = jnp.sqrt(jnp.sum((gaps - along * ray) ** 2) + SMOOTHING)
    return scale * (along + theta * across)
