"""Bloop: one main task, and of the others what does not touch it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Reduced, row_weighting
from mtopt.errors import expect_index, expect_number, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import (
    combine,
    cross_gramian,
    divide_or_zero,
    some_rows,
    zero_rows,
)
from mtopt.options import Integer, Number
from mtopt.registry import method
from mtopt.simplex import uniform_over


@method(family="gradients", traits=("mean-like", "task-bound"))
def bloop(
    num_tasks: int,
    *,
    main: Integer = 0,
    aux_weight: Number = 0.1,
    ema: Number = 0.1,
    variant: str = "bloop",
    rescale: bool = False,
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends the main task, plus the part of the others orthogonal to it.

    .. math::
       e \leftarrow e + \eta (g_m - e), \qquad
       r = \frac{\langle e, g_a \rangle}{\|e\|^2}, \qquad
       d = g_m + \lambda (g_a - r e)

    with :math:`g_m` the gradient of the main task m and :math:`g_a` the mean of the
    others'. Projecting on a running average e of the main gradient, which starts from
    the first one, keeps the auxiliary part orthogonal to the true gradient and not
    to its noise: the main loss is trained as if alone, the others among its minima.

    Args:
      num_tasks: K, at least 1.
      main: m, the index of the main task among the sorted names.
      aux_weight: :math:`\lambda`, at least 0.
      ema: :math:`\eta`, the step of the average, above 0 to 1 (1: this batch alone).
      variant: ``"bloop"``; ``"dynamic_barrier"``: r at most 1 / lambda, so that never
        more than the main gradient is taken away; ``"ratio_only"``: r from the average,
        but subtracted along the gradient, :math:`(1 - \lambda r) g_m + \lambda g_a`.
      rescale: divide d by 1 + lambda.
      heads: ``"weighted"``: the main head moves along its gradient, the others along
        lambda / (K - 1) times theirs, as d does; ``"plain"``: all along their own.

    Returns:
      An aggregator. Its memory is as large as the shared parameters.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> tx = bloop(2, aux_weight=0.5)
      >>> jacobian = jnp.array([[2., 0.], [-3., 4.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(2)))
      >>> direction.tolist()
      [2.0, 2.0]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another d; all zero: d = 0.

    References:
      Hsieh et al., Careful with that Scalpel: Improving Gradient Surgery with an EMA,
      2024, arXiv 2402.02998.

    Differences from released code:
      It takes one auxiliary loss; here the mean of all others, so that lambda means
      the same for any K. Its ``rescale`` of this direction multiplies by 1 + lambda,
      a slip of brackets. No constant is added to the squared norm: the projection is
      exact at any scale. A main task absent from the batch leaves e as it was.
    """
    expect_index("main", main, num_tasks)
    expect_number("aux_weight", aux_weight, at_least=0)
    expect_number("ema", ema, above=0, at_most=1)
    expect_one_of("variant", variant, ("bloop", "dynamic_barrier", "ratio_only"))
    is_main = jnp.arange(num_tasks) == main

    def start(shared: Any) -> tuple[Any, Bool[Array, ""]]:
        average = jax.tree.map(lambda row: row[0], zero_rows(shared, 1))
        return average, jnp.zeros((), bool)

    def reduce(memory: Any, evaluation: Evaluation) -> Reduced:
        rows, present = evaluation.rows, evaluation.present
        average, started = memory
        step = jnp.where(started, ema, 1) * present[main]
        average = jax.tree.map(
            lambda e, g: e + step.astype(e.dtype) * (g[main].astype(e.dtype) - e),
            average,
            rows,
        )
        shares = uniform_over(present & ~is_main)
        ratio = _projection(combine(shares, rows), average)
        if variant == "dynamic_barrier":  # 1 / 0 is no bound
            ratio = jnp.minimum(ratio, 1 / jnp.asarray(aux_weight, ratio.dtype))

        def project(
            row: Float[Array, "K ..."], e: Float[Array, "..."]
        ) -> Float[Array, "K ..."]:
            along = row[main] if variant == "ratio_only" else e.astype(row.dtype)
            away = row - (ratio.astype(row.dtype) * along)[None]
            return jnp.where(is_main.reshape(-1, *(1,) * (row.ndim - 1)), row, away)

        weights = jnp.where(is_main, 1, aux_weight * shares)
        if rescale:
            weights = weights / (1 + aux_weight)
        memory = average, started | present[main]
        return weights, jax.tree.map(project, rows, average), memory

    return row_weighting(num_tasks, reduce, heads=heads, memory=start)


def _projection(gradient: Any, average: Any) -> Float[Array, ""]:
    """The coefficient of ``gradient`` along ``average``; 0 where that vanishes."""
    e, g = (
        some_rows(jax.tree.map(lambda leaf: leaf[None], tree), 1)
        for tree in (average, gradient)
    )
    square = cross_gramian(e, e)[0, 0]
    return divide_or_zero(cross_gramian(e, g)[0, 0], square)
