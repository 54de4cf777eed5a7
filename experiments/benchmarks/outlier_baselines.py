"""What is simpler than ``outlier_weighted``: to drop a task, or to bound residuals."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.linalg import divide_or_zero
from mtopt.problem import Problem

EVERY = 10  # steps from one measurement of affinities to the next, as in their paper
EFFICIENT = 1.345  # deviations: 95 % as efficient as squares where errors are normal
NORMAL = 0.6745  # the median of absolute values of a standard normal variable


def affinities(problem: Problem, params: Any, rate: float) -> Float[Array, "K K"]:
    r"""What a step on one task alone does for the losses of all: TAG's affinities.

    .. math::
       Z_{i \to j} = 1 - \frac{L_j(\theta - \eta \nabla_\theta L_i, \phi_j)}
                              {L_j(\theta, \phi_j)}

    with the heads :math:`\phi` as they are; entry ``[i, j]``. A task that is absent has
    none, and none is had for it: NaN.

    Args:
      problem: the tasks on a batch.
      params: where to evaluate.
      rate: eta, the learning rate.

    References:
      Fifty et al., Efficiently Identifying Task Groupings for Multi-Task Learning,
      2021, arXiv 2109.04617.
    """
    losses, gradients = problem.losses_and_grads(params)
    ahead = jax.tree.map(
        lambda p, g: p[None] - rate * g, params["shared"], gradients["shared"]
    )
    after = jax.vmap(lambda shared: problem.losses({**params, "shared": shared}))(ahead)
    both = problem.present[:, None] & problem.present[None]
    return jnp.where(both, 1 - divide_or_zero(after, losses[None]), jnp.nan)


def least_affine(mean: Float[Array, "K K"]) -> Any:
    """The task whose steps do least for the others, on average over these.

    Args:
      mean: affinities, averaged over training; NaN for two tasks that never met.

    Example:
      >>> int(least_affine(jnp.array([[9., .1, .1], [.2, 9., -.4], [.1, .1, 9.]])))
      1
    """
    others = jnp.where(jnp.eye(len(mean), dtype=bool), jnp.nan, mean)
    return jnp.argmin(jnp.nanmean(others, axis=1))


def huber_threshold(
    residuals: Float[Array, "K b"], mask: Bool[Array, "K b"]
) -> Float[Array, ""]:
    """1.345 standard deviations of what all tasks of a batch leave unexplained.

    The deviation is that of normal errors with this median of absolute values, which a
    minority of large ones moves little. It is one for all tasks: to one of its own, a
    task of noise alone would look like any other.

    Args:
      residuals: of the labels, ``[K, b]``.
      mask: which labels there are.

    References:
      Huber, Robust Estimation of a Location Parameter, 1964; the multiple in Holland
      and Welsch, Robust Regression Using Iteratively Reweighted Least-Squares, 1977
      (neither on arXiv).
    """
    size = jnp.nanmedian(jnp.where(mask, jnp.abs(residuals), jnp.nan))
    return EFFICIENT / NORMAL * size


def huber(residuals: Any, threshold: Any) -> Any:
    """Squares up to a threshold, and lines beyond it.

    Example:
      >>> print(huber(jnp.array([0.5, 3.0]), 1.0))
      [0.25 5.  ]
    """
    return 2 * optax.huber_loss(residuals, delta=threshold)
