"""COSMOS: a weighted sum whose losses shall point along the preference."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.methods.tchebycheff import preferred_share
from mtopt.options import Number, Numbers
from mtopt.registry import method

SMALLEST = 1e-8


@method(
    family="losses",
    traits=("mean-like",),
)
def cosmos_scalarization(
    num_tasks: int,
    *,
    penalty: Number = 2.0,
    preference: Numbers | None = None,
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends a weighted sum, less the cosine of losses and preference.

    .. math::
       L = \langle \lambda, \ell \rangle
         - \gamma \frac{\langle \lambda, \ell \rangle}{\|\lambda\| \, \|\ell\|},
       \qquad w = \frac{\partial L}{\partial \ell}

    over the losses :math:`\ell` of the tasks present in the batch. The cosine spreads
    the solutions for different preferences over the front; it makes the weight of a
    loss below the ray smaller, and possibly negative.

    Args:
      num_tasks: K, at least 1.
      penalty: gamma, at least 0, in units of the losses. The authors use 2 for
        Multi-MNIST and Multi-Fashion, 8 for their mixture, 3 for CelebA and 0.01 for
        tabular data.
      preference: lambda, K numbers above 0 in the sorted order of the task names;
        those of the tasks present are divided by their sum. None: all equal.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator; it reads the losses. Losses with a norm below 1e-8 are taken to
      have that norm.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a negative penalty, or a preference that is not as above.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = cosmos_scalarization(2, penalty=1)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 1.])))
      >>> [round(float(w), 2) for w in state.weights]
      [0.56, 0.37]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient:
      another d; all zero: d = 0.

    References:
      Ruchte and Grabocka, Scalable Pareto Front Approximation for Deep Multi-Objective
      Learning, 2021, arXiv 2103.13392.

    Differences from released code:
      Theirs draws a new preference from a Dirichlet distribution in every step and
      gives it to the network; here it is fixed. :func:`cosmos_loss` is the function
      to differentiate with a preference of one's own.
    """
    expect_number("penalty", penalty, at_least=0)
    shares_among = preferred_share(preference, num_tasks)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        ray = shares_among(present)
        return jax.grad(cosmos_loss)(losses, ray, penalty, present), memory

    return weighting(num_tasks, weigh, heads=heads, reduction="mean", least_losses=0.0)


def cosmos_loss(
    losses: Float[Array, " K"],
    preference: Float[Array | np.ndarray, " K"],
    penalty: Number,
    present: Bool[Array, " K"] | None = None,
) -> Float[Array, ""]:
    """The weighted sum of the losses less ``penalty`` times a cosine.

    Args:
      losses: ``[K]``.
      preference: lambda, ``[K]``.
      penalty: gamma.
      present: the tasks that count, ``[K]``; None: all.

    Example:
      >>> import jax.numpy as jnp
      >>> ray = jnp.array([3., 4.])
      >>> float(cosmos_loss(ray, ray, 2.))
      23.0
    """
    if present is None:
        present = jnp.ones(losses.shape, bool)
    preference = jnp.where(present, preference, 0)
    losses = jnp.where(present, losses, 0)
    scale = jax.lax.stop_gradient(jnp.maximum(jnp.abs(losses).max(), SMALLEST))
    shape, norm = losses / scale, jnp.maximum(jnp.linalg.norm(preference), SMALLEST)
    squared = jnp.sum(shape**2)
    length = jnp.sqrt(jnp.where(squared > 0, squared, 1))
    return preference @ losses - penalty * (preference @ shape) / (norm * length)
