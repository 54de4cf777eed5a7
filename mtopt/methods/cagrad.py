"""CAGrad: near the mean gradient, the direction best for the worst task."""

from typing import Any

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.options import Number, as_array
from mtopt.registry import method
from mtopt.simplex import uniform_over
from mtopt.solvers import conflict_averse_weights

RESCALINGS = ("none", "1+c^2", "1+c")


@method(family="gramian")
def cagrad(
    num_tasks: int,
    *,
    c: Number = 0.5,
    rescale: str = "1+c^2",
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Conflict-averse descent: maximise the worst gain in a ball around the mean.

    .. math::
       d = \operatorname*{argmax}_d \min_k \langle g_k, d \rangle
           \quad \text{subject to} \quad \|d - g_0\| \le c \|g_0\|,
       \qquad g_0 = \frac{1}{|P|} \sum_{k \in P} g_k

    over the tasks P present in the batch. In terms of weights, :math:`d = g_0 + c
    \|g_0\| g_w / \|g_w\|` with w the minimiser over the simplex of :math:`\langle g_w,
    g_0 \rangle + c \|g_0\| \|g_w\|`. c = 0 would be equal weighting, c towards infinity
    MGDA; for c >= 1 no gain is negative. Exact for every K; see
    :func:`mtopt.solvers.conflict_averse_weights`.

    Args:
      num_tasks: K, at least 1.
      c: the radius, above 0; 0.5 in the paper, 0.4 in nash-mtl.
      rescale: what d is divided by: ``"none"``, the paper's formula and TorchJD;
        ``"1+c^2"``, the authors' and LibMTL's default; ``"1+c"``, the authors' toy.
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
      >>> tx = cagrad(2, c=0.5, rescale="none")
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.184, 1.204, 1.204]

    Nothing to balance:
      one task: along its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, 2021, arXiv
      2110.14048.

    Differences from released code:
      It solves the dual by SLSQP, or by 20 steps of gradient descent for many tasks;
      this solve is exact. A task at rest (a zero gradient) counts in the mean, but its
      gain, which is zero whatever d is, does not count as the worst. nash-mtl and the
      authors' NYUv2 code multiply d by K: ``optax.scale(K)`` after it does the same.
    """
    expect(
        (as_array(c) > 0).all(), "c", c, "a number above 0 (c = 0 is equal_weighting)"
    )
    expect_one_of("rescale", rescale, RESCALINGS)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        correction = conflict_averse_weights(gramian, c, present)
        weights = uniform_over(present).astype(gramian.dtype) + correction
        return weights / rescaling(rescale, c), memory

    return on_gramian(num_tasks, weigh, heads=heads, reduction="mean", space=space)


def rescaling(rescale: str, c: Number) -> Number:
    """What CAGrad divides its direction by."""
    return {"none": 1.0, "1+c^2": 1 + c**2, "1+c": 1 + c}[rescale]
