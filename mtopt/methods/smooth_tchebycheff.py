"""Smooth Tchebycheff scalarization: descend a soft maximum of the losses."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.methods.tchebycheff import preferred_share, zeros_or
from mtopt.options import Number, Numbers
from mtopt.registry import method


@method(family="losses")
def smooth_tchebycheff(
    num_tasks: int,
    *,
    mu: Number = 1.0,
    preference: Numbers | None = None,
    ideal: Numbers | None = None,
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends a smooth bound of the Tchebycheff scalarization (STCH).

    .. math::
       L = \mu \log \sum_k \exp \frac{\lambda_k (L_k - z_k)}{\mu},
       \qquad w_k = \lambda_k \,
           \mathrm{softmax}_k \frac{\lambda_k (L_k - z_k)}{\mu}

    It exceeds :math:`\max_k \lambda_k (L_k - z_k)` by at most :math:`\mu \log K`, and
    its gradient uses every task. Small mu approaches
    :func:`mtopt.methods.tchebycheff.tchebycheff`, large mu a weighted sum.

    Args:
      num_tasks: K, at least 1.
      mu: the smoothness, above 0, in units of the weighted losses. The authors use
        0.01 for losses normalised to [0, 1], where Pareto sets are learned, and 1 in
        multi-task training.
      preference: lambda, K numbers above 0 in the sorted order of the task names;
        those of the tasks present are divided by their sum. None: all equal.
      ideal: z, K numbers, losses that no task can go below. None: zeros, for
        losses that stay above zero.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator; it reads the losses.

    Raises:
      UserError: for a mu that is not above 0, or a preference or ideal point that is
        not as above.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = smooth_tchebycheff(2, mu=0.5)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 1.])))
      >>> [round(float(w), 3) for w in state.weights]
      [0.366, 0.134]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient:
      another d; all zero: d = 0.

    References:
      Lin et al., Smooth Tchebycheff Scalarization for Multi-Objective Optimization,
      2024, arXiv 2402.19078.

    Differences from released code:
      This is the method of the paper, of its Pareto-set code and of TorchJD. What its
      multi-task code and LibMTL call STCH is
      :func:`mtopt.methods.smooth_tchebycheff_warmup.smooth_tchebycheff_warmup`.
    """
    expect_number("mu", mu, above=0)
    shares_among = preferred_share(preference, num_tasks)
    start = zeros_or("ideal", ideal, num_tasks)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        shares = shares_among(present)
        weights = jax.grad(smooth_tchebycheff_loss)(losses, shares, start, mu, present)
        return weights, memory

    return weighting(
        num_tasks, weigh, heads=heads, reduction="share", least_losses=start
    )


def smooth_tchebycheff_loss(
    losses: Float[Array, " K"],
    preference: Float[Array | np.ndarray, " K"],
    ideal: Float[Array | np.ndarray, " K"],
    mu: Number,
    present: Bool[Array, " K"] | None = None,
) -> Float[Array, ""]:
    """A soft maximum of the weighted distances of the losses from their ideal.

    Args:
      losses: ``[K]``.
      preference: lambda, ``[K]``.
      ideal: z, ``[K]``.
      mu: the smoothness, above 0.
      present: the tasks that count, ``[K]``; None: all.

    Example:
      >>> import jax.numpy as jnp
      >>> value = smooth_tchebycheff_loss(jnp.ones(2), jnp.ones(2), jnp.zeros(2), 1.)
      >>> round(float(value), 4)
      1.6931
    """
    return mu * jax.nn.logsumexp(preference * (losses - ideal) / mu, where=present)
