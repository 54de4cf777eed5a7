"""IMGrad: CAGrad that weighs the mean against balance by how far MGDA is from it."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.methods.cagrad import RESCALINGS, rescaling
from mtopt.options import Number
from mtopt.registry import method
from mtopt.simplex import uniform_over
from mtopt.solvers import conflict_averse_weights, min_norm_weights


@method(family="gramian")
def imgrad(
    num_tasks: int,
    *,
    c: Number = 0.8,
    rescale: str = "1+c^2",
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Imbalance-sensitive CAGrad: its dual, re-weighted by a cosine.

    .. math::
       \kappa = \cos(g_0, g_{\text{MGDA}}), \qquad
       w = \operatorname*{argmin}_{w \in \Delta} (1.5 - \kappa)
           \langle g_w, g_0 \rangle + \kappa c \|g_0\| \|g_w\|, \qquad
       d = g_0 + c \|g_0\| \frac{g_w}{\|g_w\|}

    with :math:`g_0` the mean of the gradients present. Where the min-norm point is far
    from the mean (an imbalance, :math:`\kappa` small), w minds the mean more. The dual
    is that of CAGrad with the radius :math:`\kappa c / (1.5 - \kappa)`, here at least
    0.001, and the same exact solve finds it.

    Args:
      num_tasks: K, at least 1.
      c: the radius of the step, above 0.
      rescale: what d is divided by: ``"none"``, ``"1+c^2"`` (the authors' code), or
        ``"1+c"``.
      space: where the gradients of the Gramian are taken: ``"parameters"``, or
        ``"representation"``, a cheaper upper bound.
      heads: ``"plain"`` leaves a head its own gradient (the authors' code);
        ``"weighted"`` scales it by the task's weight in d.

    Returns:
      An aggregator. In the space of the representation it needs a problem.

    Raises:
      UserError: for an unknown option or a c that is not above 0.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = imgrad(2, rescale="none")
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.163, 1.781, 1.781]

    Nothing to balance:
      one task: along its gradient; equal losses: as any others; a zero gradient:
      another d; all zero: d = 0. A solved task holds the others back; see
      :func:`mtopt.without_stationary`.

    References:
      Zhou et al., Injecting Imbalance Sensitivity for Multi-Task Learning, IJCAI 2025,
      arXiv 2503.08006.

    Differences from released code:
      The formula is the paper's; the Cityscapes file of the released code lacks a pair
      of parentheses, so that 1.5 - kappa multiplies one of the terms of the inner
      product alone. Solved exactly, where the code calls SLSQP.
    """
    expect_number("c", c, above=0)
    expect_one_of("rescale", rescale, RESCALINGS)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        mean = uniform_over(present).astype(gramian.dtype)
        shortest = min_norm_weights(gramian, present)
        kappa = cosine(gramian, mean, shortest)
        radius = jnp.maximum(kappa * c / (1.5 - kappa), 1e-3)
        correction = conflict_averse_weights(gramian, radius, present) * (c / radius)
        return (mean + correction) / rescaling(rescale, c), memory

    return on_gramian(num_tasks, weigh, heads=heads, reduction="mean", space=space)


def cosine(
    gramian: Float[Array, "K K"], first: Float[Array, " K"], second: Float[Array, " K"]
) -> Float[Array, ""]:
    """The cosine of two combinations of the rows, 0 if either of them is zero."""
    images = jnp.matmul(gramian, jnp.stack([first, second], 1), precision="highest")
    norms = [
        jnp.sqrt(jnp.maximum(jnp.vdot(weights, image), 0))
        for weights, image in zip((first, second), images.T, strict=True)
    ]
    nonzero = (norms[0] > 0) & (norms[1] > 0)
    dot = jnp.vdot(second, images[:, 0]) / jnp.where(nonzero, norms[0], 1)
    return jnp.where(nonzero, jnp.clip(dot / jnp.where(nonzero, norms[1], 1), -1, 1), 0)
