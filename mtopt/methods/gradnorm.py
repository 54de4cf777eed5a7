"""GradNorm: learns weights that let every task train at its rate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number, expect_one_of, expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.memory import learned
from mtopt.options import Integer, Number, Numbers
from mtopt.registry import method
from mtopt.simplex import mean_over


@method(family="gradients")
def gradnorm(
    num_tasks: int,
    *,
    alpha: Number = 1.5,
    learning_rate: Number = 0.025,
    initial_losses: Numbers | None = None,
    warmup: Integer = 1,
    parametrization: str = "weights",
    space: str = "parameters",
    heads: str = "weighted",
) -> Aggregator:
    r"""Equalises gradient norms, the slower tasks' a little higher.

    .. math::
       G_k = w_k \|g_k\|, \qquad
       r_k = \frac{L_k / L_k^0}{\frac1K \sum_j L_j / L_j^0}, \qquad
       \min_w \sum_k \big| G_k - \bar G\, r_k^\alpha \big|, \qquad
       d = \sum_k w_k g_k

    with the target :math:`\bar G r_k^\alpha` (bar: the mean over tasks) held constant.
    Each step descends it once by Adam and restores :math:`\sum_k w_k = K`; the
    direction uses the weights before that step, which start at 1.

    Args:
      num_tasks: K, at least 1.
      alpha: how strongly a task that has improved less is favoured, at least 0.
      learning_rate: of the weights' Adam, above 0.
      initial_losses: :math:`L_k^0`, one positive number per task in sorted order (for
        cross entropy on C classes, log C); None to observe them.
      warmup: over how many of a task's first batches its initial loss is averaged, at
        least 1; it keeps its weight meanwhile. 1 is the first batch, an epoch LibMTL.
      parametrization: what Adam moves. ``"weights"``: w itself, as in the paper;
        ``"softmax"``: logits s with w = K softmax(s), as in LibMTL.
      space: which gradients have their norms equalised. ``"parameters"``: of all
        shared parameters, as in LibMTL; ``"representation"``: what the heads send
        into the encoder, nearest to the paper's last shared layer, and cheaper.
      heads: ``"weighted"`` differentiates the weighted loss, as in the paper;
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which should be positive (one below zero
      counts as zero), and for the representation a problem.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an option out of range or of another length.

    Example:
      >>> import mtopt
      >>> tx = gradnorm(2)
      >>> jacobian, losses = jnp.array([[1., 0.], [0., 4.]]), jnp.ones(2)
      >>> state, update = tx.init(jnp.zeros(2)), jax.jit(tx.update)
      >>> for _ in range(9):
      ...     direction, state = update(
      ...         jacobian, state, evaluation=mtopt.Evaluation(losses=losses))
      >>> [round(float(weight), 1) for weight in state.weights]
      [1.2, 0.8]

    Nothing to balance:
      one task: its gradient; equal losses: weights of its own; a zero gradient:
      left out; all zero: d = 0.

    References:
      Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
      Multitask Networks, 2018, arXiv 1711.02257.

    Differences from released code:
      LibMTL trains the logits with the model's optimizer and the first epoch with
      equal weights. Weights stay at zero or above, where the paper lets Adam overshoot.
      A norm within rounding of its target counts as there: Adam would make a full step
      of the difference. A task absent from the batch keeps its weight and moments.
    """
    expect_number("alpha", alpha, at_least=0)
    expect_number("learning_rate", learning_rate, above=0)
    expect_number("warmup", warmup, at_least=1)
    expect_one_of("parametrization", parametrization, ("weights", "softmax"))
    given = initial_losses is not None
    initial = np.ones(num_tasks)
    if initial_losses is not None:
        initial = expect_per_task("initial_losses", initial_losses, num_tasks, above=0)
    adam = optax.adam(learning_rate)

    def weights_of(values: Float[Array, " K"]) -> Float[Array, " K"]:
        if parametrization == "softmax":
            return num_tasks * jax.nn.softmax(values)
        return values

    def start(
        shared: Any,
    ) -> tuple[learned.Learned, Float[Array, " K"], Int[Array, " K"]]:
        moved = learned.start(adam, num_tasks, 1.0, shared)
        seen = jnp.full((num_tasks,), warmup if given else 0, jnp.int32)
        return moved, jnp.asarray(initial, moved.values.dtype), seen

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present, losses = evaluation.present, evaluation.losses
        moved, initial, seen = memory
        losses = jnp.maximum(losses, 0).astype(initial.dtype)
        observing = present & (seen < warmup)
        seen = seen + observing
        mean = initial + (losses - initial) / jnp.maximum(seen, 1)
        initial = jnp.where(observing, mean, initial)
        learning = present & (seen >= warmup)

        norms = jnp.sqrt(jnp.diagonal(gramian)).astype(initial.dtype)
        rates = losses / jnp.maximum(initial, 1e-8)
        average = mean_over(learning, rates)
        rates = rates / jnp.where(average > 0, average, 1)
        weights = weights_of(moved.values)
        target = mean_over(learning, weights * norms) * rates**alpha

        def distance(values: Float[Array, " K"]) -> Float[Array, ""]:
            gap = jnp.where(learning, weights_of(values) * norms - target, 0)
            rounding = 8 * jnp.finfo(gap.dtype).eps * target
            return jnp.sum(jnp.where(jnp.abs(gap) > rounding, jnp.abs(gap), 0))

        slope = jax.grad(distance)(moved.values)
        moved = learned.learn(adam, moved, slope, learning)
        if parametrization == "weights":
            values = jnp.maximum(moved.values, 0)
            scale = num_tasks / jnp.maximum(values.sum(), 1e-8)
            moved = moved._replace(values=scale * values)
        return weights, (moved, initial, seen)

    return on_gramian(
        num_tasks,
        weigh,
        heads=heads,
        reduction="sum",
        space=space,
        memory=start,
        least_losses=0.0,
    )
