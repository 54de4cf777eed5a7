"""EPO search: to the point of the Pareto front on a preference ray."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number, expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.options import Number, Numbers
from mtopt.registry import method
from mtopt.solvers.linear_program import maximise_on_simplex


@method(family="preference")
def epo(
    num_tasks: int,
    *,
    preference: Numbers | None = None,
    tolerance: Number = 1e-4,
    space: str = "parameters",
    heads: str = "weighted",
) -> Aggregator:
    r"""Exact Pareto optimal search: the trade-off with :math:`r_1 L_1 = r_2 L_2 = ...`.

    With the preference r, how far the losses are from the ray is the non-uniformity

    .. math::
       \hat l_k = \frac{r_k L_k}{\sum_j r_j L_j}, \qquad
       \mu = \sum_k \hat l_k \log(K \hat l_k), \qquad
       a_k = r_k (\log(K \hat l_k) - \mu)

    where d = J^T a descends mu. With C the Gramian, and the worst tasks those of
    largest r_k L_k, every step solves one linear program over the simplex. *Balance*,
    while mu is above the tolerance: towards the ray, raising a loss if need be,

    .. math::
       \max_{w \in \Delta} w^T C a \quad \text{s.t.} \quad (C w)_k \ge
       \begin{cases} 0 & k \text{ worst, or no } (C a)_j > 0 \\
       (C a)_k & (C a)_k \le 0 \end{cases}

    *Descent*, on the ray: along it, raising none,

    .. math::
       \max_{w \in \Delta} \sum_k (C w)_k \quad \text{s.t.} \quad C w \ge 0, \;
       w^T C a \ge \min(0, \max_k (C a)_k)

    The direction is :math:`d = K \sum_k w_k g_k`.

    Args:
      num_tasks: K, at least 1; the program is made for up to ten.
      preference: r, one number above 0 per task, in task order; None for equal ones.
        Only their ratios count, as r is scaled to unit length (the authors' are on the
        unit circle). The losses end proportional to 1 / r: a larger one gives the
        smaller loss.
      tolerance: at least 0; the mu up to which a point counts as on the ray.
      space: where the gradients of the Gramian are taken; see :func:`mtopt.mgda`.
      heads: ``"weighted"`` differentiates the weighted loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative: a negative loss
      counts as one of 0. The tasks of a batch are balanced among themselves.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a preference of another length or not above 0, or a tolerance
        below 0.

    Example:
      >>> import jax, mtopt
      >>> tx = epo(2, preference=(1, 1))
      >>> jacobian = jnp.array([[1., 0.], [0., 1.]])
      >>> direction, _ = jax.jit(tx.update)(
      ...     jacobian, tx.init(jnp.zeros(2)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([1., 3.])))
      >>> print(abs(direction).round(2))
      [0. 2.]

    Nothing to balance:
      one task: its gradient; equal losses: weights of its own; a zero gradient: d
      = 0; all zero: d = 0.

    References:
      Mahapatra and Rajan, Multi-Task Learning with User Preferences: Gradient Descent
      with Controlled Ascent in Pareto Optimization, ICML 2020; extended as Exact Pareto
      Optimal Search for Multi-Task Learning and Multi-Criteria Decision-Making, 2021,
      arXiv 2108.00597.

    Differences from released code:
      They solve by GLPK on the host; see
      :func:`mtopt.solvers.linear_program.maximise_on_simplex`. Where no point
      satisfies the constraints, the weights are proportional to r, as there. Their
      gradients include the heads'. libmoon and others take ``preference`` as the ray
      itself, L proportional to it: the inverse of this one.
    """
    ratios = np.ones(num_tasks)
    if preference is not None:
        ratios = expect_per_task("preference", preference, num_tasks, above=0)
    expect_number("tolerance", tolerance, at_least=0)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        r = jnp.where(present, jnp.asarray(ratios, gramian.dtype), 0)
        r = r / _or_one(jnp.linalg.norm(r))
        weights = _weights(gramian, losses.astype(r.dtype), r, present, tolerance)
        return present.sum() * weights, memory

    return on_gramian(
        num_tasks, weigh, heads=heads, reduction="sum", space=space, least_losses=0.0
    )


def _weights(
    gramian: Float[Array, "K K"],
    losses: Float[Array, " K"],
    r: Float[Array, " K"],
    present: Bool[Array, " K"],
    tolerance: Number,
) -> Float[Array, " K"]:
    """The solution of the linear program that is due, on the simplex."""
    scaled = jnp.maximum(r * losses, 0)
    scaled = scaled / _or_one(jnp.max(scaled))
    share = scaled / _or_one(scaled.sum())
    eps = jnp.finfo(share.dtype).eps
    logs = jnp.log(jnp.maximum(share, eps) * jnp.maximum(present.sum(), 1))
    mu = share @ logs
    balance = mu > tolerance

    gramian = gramian / _or_one(jnp.max(jnp.diagonal(gramian)))
    slopes = jnp.matmul(gramian, r * (logs - mu), precision="highest")  # C a
    rising = slopes > 0
    worst = scaled == jnp.max(scaled)
    floor = jnp.where(worst | ~rising.any(), 0, jnp.where(rising, -jnp.inf, slopes))
    floor = jnp.where(present, jnp.where(balance, floor, 0), -jnp.inf)
    steepest = jnp.max(slopes, where=present, initial=-jnp.inf)
    last = jnp.where(balance, -jnp.inf, jnp.minimum(steepest, 0))

    objective = jnp.where(balance, slopes, gramian.sum(axis=0))
    matrix, bounds = jnp.vstack([gramian, slopes]), jnp.append(floor, last)
    size = jnp.max(jnp.abs(matrix), axis=1)
    size = _or_one(size.at[-1].max(jnp.sqrt(eps)))  # C a is rounding on the ray itself
    matrix, bounds = matrix / size[:, None], jnp.maximum(bounds / size, -2)
    weights = maximise_on_simplex(objective, matrix, bounds, present)
    slack = jnp.matmul(matrix, weights, precision="highest") - bounds
    return jnp.where(jnp.min(slack) > -1e-2, weights, r / _or_one(r.sum()))


def _or_one(scale: Any) -> Any:
    """The scale to divide by, 1 where it is 0."""
    return jnp.where(scale > 0, scale, 1)
