"""SDMGrad: MGDA from independent batches, drawn towards a preferred direction."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, gradients_of, weighting
from mtopt.errors import expect_number, expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.linalg import (
    cross_gramian,
    only_present,
    some_rows,
    task_numbers,
)
from mtopt.options import Integer, Number, Numbers
from mtopt.registry import method
from mtopt.scaled_problem import on_scale_of_rows
from mtopt.simplex import mean_over, project_simplex, share_of


@method(family="batches", traits=("mean-like",))
def sdmgrad(
    num_tasks: int,
    *,
    lam: Number = 0.3,
    preference: Numbers | None = None,
    learning_rate: Number = 10.0,
    momentum: Number = 0.5,
    num_iterations: Integer = 20,
    heads: str = "plain",
) -> Aggregator:
    r"""Stochastic direction-oriented MGDA: a preferred direction as regularisation.

    .. math::
       w = \operatorname*{argmin}_{w \in \Delta} \tfrac12
           \Big\| \sum_k (w_k + \lambda \tilde w_k) g_k \Big\|^2, \qquad
       d = \frac{1}{1 + \lambda} \sum_k (w_k + \lambda \tilde w_k) g_k

    by a few projected steps of :func:`sdmgrad_weights` from the last weights, on
    :math:`A = J_1 J_2^\top / s^2` with s the mean of :math:`\sqrt{A_{kk} + 10^{-4}}`
    before that; d is taken on a third batch. The three are independent, so that
    nothing is biased by the noise of one batch: parts of the step's batch.

    Args:
      num_tasks: K, at least 1.
      lam: :math:`\lambda`, at least 0: 0 is MGDA, infinity descends the preferred
        direction. The released class has 0.6, its experiments 0.3.
      preference: :math:`\tilde w`, one number of at least 0 per task in sorted order,
        not all 0; scaled to sum 1. None: uniform, the direction of equal weighting.
      learning_rate: of the inner steps, above 0 (LibMTL: 5).
      momentum: of the inner steps, at least 0 and below 1.
      num_iterations: the number of inner steps, at least 1.
      heads: ``"plain"``: a head moves along its own gradient, that of the whole batch
        (the released code); ``"weighted"``: along its weight times that.

    Returns:
      An aggregator. It needs a problem with at least three samples. Behind a
      transformation of rows its weights are those of the parts' own gradients, on the
      scale of the rows, which are summed.

    Raises:
      UserError: for an option out of range, and (on update) a batch too small.

    Example:
      >>> import mtopt
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> problem, params = mtopt.linear_problem(jacobian, jnp.ones(2))
      >>> seen = problem.evaluate(params)
      >>> tx = sdmgrad(2, lam=0., learning_rate=0.5)
      >>> state, update = tx.init(params), jax.jit(tx.update)
      >>> direction, _ = update(
      ...     seen.gradients, state, params, evaluation=seen)
      >>> print(abs(direction["shared"].round(2)))
      [0. 1. 1.]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another d; all zero: d = 0. A solved task holds the others back; see
      :func:`mtopt.without_stationary`.

    References:
      Xiao et al., Direction-oriented Multi-objective Learning: Simple and Provable
      Stochastic Algorithms, 2023, arXiv 2305.18409.

    Differences from released code:
      Its three gradients are one list repeated, so that the last batch stands in for
      all; here they differ. It multiplies d by K and clips it to norm 1, which
      ``optax.scale(K)`` and ``optax.clip_by_global_norm(1.)`` after this one do. A
      negative :math:`A_{kk}`, which independent batches can give, counts as 0 in s.
      A task with fewer than three labels has one of them in several parts. The present
      tasks move within the share of the simplex that they hold.
    """
    expect_number("lam", lam, at_least=0)
    expect_number("learning_rate", learning_rate, above=0)
    expect_number("momentum", momentum, at_least=0, below=1)
    expect_number("num_iterations", num_iterations, at_least=1)
    target = np.ones(num_tasks)
    if preference is not None:
        target = expect_per_task("preference", preference, num_tasks, at_least=0)

    def start(shared: Any) -> Float[Array, " K"]:
        return task_numbers(shared, num_tasks, 1 / num_tasks)

    def weigh(weights: Any, evaluation: Evaluation) -> Weighed:
        problem, params = on_scale_of_rows(evaluation), evaluation.params
        first, second, _ = problem.split(3)
        present = evaluation.present
        rows, others = (
            part.losses_and_grads(params)[1]["shared"] for part in (first, second)
        )
        cross = cross_gramian(*(some_rows(each, num_tasks) for each in (rows, others)))
        cross = only_present(cross, present)
        lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(cross), 0) + 1e-4)
        scale = mean_over(present, lengths)
        cross = cross / jnp.where(scale > 0, scale, 1) / jnp.where(scale > 0, scale, 1)
        shares, total = share_of(weights, present)
        preferred, _ = share_of(jnp.asarray(target, weights.dtype), present)
        shares = sdmgrad_weights(
            shares,
            cross.astype(weights.dtype),
            present,
            preferred=preferred,
            lam=lam,
            learning_rate=learning_rate,
            momentum=momentum,
            num_iterations=num_iterations,
        )
        combined = (shares + lam * preferred) / (1 + lam)
        return combined, jnp.where(present, total * shares, weights)

    third = gradients_of(lambda problem: problem.split(3)[2])
    return weighting(
        num_tasks, weigh, heads=heads, reduction="mean", memory=start, gradients=third
    )


def sdmgrad_weights(
    weights: Float[Array, " K"],
    cross: Float[Array, "K K"],
    present: Bool[Array, " K"],
    *,
    preferred: Float[Array, " K"],
    lam: Number,
    learning_rate: Number,
    momentum: Number,
    num_iterations: Integer,
) -> Float[Array, " K"]:
    r"""The inner loop of SDMGrad: projected steps with momentum, from rest.

    .. math::
       v \leftarrow \mu v + A (w + \lambda \tilde w), \qquad
       w \leftarrow \Pi_\Delta (w - \eta v)

    Args:
      weights: w to start from, ``[K]``.
      cross: A, ``[K, K]``, the products of two batches' gradients, scaled.
      present: which tasks take part; the others have weight 0.
      preferred: :math:`\tilde w`, convex weights.
      lam: :math:`\lambda`.
      learning_rate: :math:`\eta`.
      momentum: :math:`\mu`.
      num_iterations: the number of steps.

    Returns:
      The last w; the direction combines gradients by
      :math:`(w + \lambda \tilde w) / (1 + \lambda)`.

    Example:
      >>> sdmgrad_weights(jnp.ones(3) / 3, jnp.diag(jnp.array([1., .25, 0.])),
      ...                 jnp.ones(3, bool), preferred=jnp.ones(3) / 3, lam=0.3,
      ...                 learning_rate=10., momentum=0.5, num_iterations=1).tolist()
      [0.0, 0.0, 1.0]
    """

    def iterate(_: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        weights, velocity = state
        slope = jnp.matmul(cross, weights + lam * preferred, precision="highest")
        velocity = momentum * velocity + slope
        return project_simplex(weights - learning_rate * velocity, present), velocity

    start = weights, jnp.zeros_like(weights)
    return jax.lax.fori_loop(0, num_iterations, iterate, start)[0]
