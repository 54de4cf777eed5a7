"""Uncertainty weighting: learn each task's noise, and divide its loss by it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import UserError, expect_number, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.memory.learned import learn, start
from mtopt.options import Number
from mtopt.registry import method

FACTORS = {"regression": 0.5, "classification": 1.0}
SMALLEST = 1e-8


@method(family="losses")
def uncertainty_weighting(
    num_tasks: int,
    *,
    kinds: str | Sequence[str] = "regression",
    init: Number = 0.0,
    learning_rate: Number = 0.025,
    heads: str = "weighted",
) -> Aggregator:
    r"""Learns the log-variance of every task's noise along with the model (UW).

    .. math::
       L = \sum_k c_k e^{-s_k} L_k + \tfrac{1}{2} s_k,
       \qquad w_k = c_k e^{-s_k},
       \qquad s_k \leftarrow \mathrm{Adam}(\partial L / \partial s_k)

    with :math:`s_k = \log \sigma_k^2`. The likelihood gives :math:`c_k = 1/2` for a
    squared error and 1 for a cross-entropy. For a constant loss s ends at
    :math:`\log 2 c_k L_k`, where the weight is :math:`1 / 2 L_k`. A step uses the s
    from before its own update.

    Args:
      num_tasks: K, at least 1.
      kinds: ``"regression"`` (c = 1/2), ``"classification"`` (c = 1), or one of them
        per task, in the sorted order of the task names. nash-mtl, LibMTL and TorchJD
        use 1/2 for all, whatever the loss; SamsungLabs/MTL 1 for all.
      init: the first s. 0 in nash-mtl and TorchJD, -0.5 in LibMTL.
      learning_rate: of Adam on s, above 0; 0.025 is nash-mtl's. The paper leaves s to
        the optimizer of the model.
      heads: ``"weighted"`` differentiates the scalarised loss (every released code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses; a loss below 1e-8 trains s as 1e-8 does, so
      that s stays above -19 for losses of 0 and below. A task that is absent from a
      batch leaves its s as it is.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an unknown kind, a wrong number of them, or a learning rate that
        is not above 0.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = uncertainty_weighting(2, kinds=("classification", "regression"))
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 0.1])))
      >>> [round(float(s), 3) for s in state.memory.values]
      [0.025, -0.025]

    Nothing to balance:
      one task: along its gradient; equal losses: equal weights; a zero gradient:
      left out; all zero: d = 0.

    References:
      Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
      Geometry and Semantics, 2018, arXiv 1705.07115.

    Differences from released code:
      s has an optimizer of its own, so that weight decay, clipping or a schedule of
      the model do not touch it.
    """
    factors = _factors(kinds, num_tasks)
    expect_number("init", init)
    expect_number("learning_rate", learning_rate, above=0)
    adam = optax.adam(learning_rate)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        s = memory.values
        weights = jax.grad(objective)(losses, s, factors)
        slope = jax.grad(objective, 1)(jnp.maximum(losses, SMALLEST), s, factors)
        return weights, learn(adam, memory, slope, present)

    memory = functools.partial(start, adam, num_tasks, init)
    return weighting(num_tasks, weigh, heads=heads, memory=memory, least_losses=0.0)


def objective(
    losses: Float[Array, " K"], s: Float[Array, " K"], factors: np.ndarray
) -> Float[Array, ""]:
    """The negative log-likelihood of all tasks, up to constants.

    Args:
      losses: ``[K]``.
      s: log-variances, ``[K]``.
      factors: c, ``[K]``.
    """
    return jnp.sum(factors * jnp.exp(-s) * losses + s / 2)


def _factors(kinds: str | Sequence[str], num_tasks: int) -> Float[np.ndarray, " K"]:
    kinds = (kinds,) * num_tasks if isinstance(kinds, str) else tuple(kinds)
    if len(kinds) != num_tasks:
        raise UserError(
            f"kinds has {len(kinds)} entries: expected one for all tasks or "
            f"{num_tasks}, one per task in sorted order"
        )
    for kind in kinds:
        expect_one_of("kinds", kind, tuple(FACTORS))
    return np.array([FACTORS[kind] for kind in kinds], np.float32)
