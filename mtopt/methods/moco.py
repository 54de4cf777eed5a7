"""MoCo: MGDA on tracked gradients, by one projected step of the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Reduced, row_weighting
from mtopt.errors import expect_number, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import (
    gramian,
    row_norms,
    scale_rows,
    some_rows,
    task_numbers,
    where_present,
    zero_rows,
)
from mtopt.options import Number
from mtopt.registry import method
from mtopt.simplex import project_simplex, share_of


@method(family="gradients")
def moco(
    num_tasks: int,
    *,
    beta: Number = 0.1,
    beta_decay: Number = 0.5,
    gamma: Number = 0.1,
    gamma_decay: Number = 0.5,
    rho: Number = 0.0,
    variant: str = "paper",
    heads: str = "plain",
) -> Aggregator:
    r"""Multi-objective gradient correction: tracks gradients, descends the weights.

    .. math::
       y_k \leftarrow y_k - \beta t^{-\sigma_\beta} (y_k - g_k), \qquad
       \lambda \leftarrow \Pi_\Delta \big( \lambda - 2 \gamma t^{-\sigma_\gamma}
           (Y Y^\top + \rho I) \lambda \big), \qquad
       d = \sum_k \lambda_k y_k

    The noise of a batch biases the weights that MGDA solves for; averages y of the
    gradients, and weights that only step, make that bias vanish. y starts from zero
    and the weights from uniform.

    Args:
      num_tasks: K, at least 1.
      beta: the step of the averages, above 0 to 1. LibMTL has 0.5.
      beta_decay: :math:`\sigma_\beta`, at least 0.
      gamma: the step of the weights, at least 0, in units of 1 / (squared gradient).
      gamma_decay: :math:`\sigma_\gamma`, at least 0.
      rho: the ridge, at least 0.
      variant: ``"paper"``: as above; ``"libmtl"``: averages of the unit gradients
        times their losses, :math:`L_k g_k / \|g_k\|`, a softmax in place of the
        projection, and no factor 2.
      heads: ``"plain"``: a head moves along its own gradient (the released code);
        ``"weighted"``: along lambda_k times that.

    Returns:
      An aggregator; ``libmtl`` reads the losses. Its memory is as large as the rows.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> tx = moco(2, beta=1., gamma=0.01)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> _, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(weight), 3) for weight in state.weights]
      [0.6, 0.4]

    Nothing to balance:
      one task: along its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0. A solved task holds the others back;
      see :func:`mtopt.without_stationary`.

    References:
      Fernando et al., Mitigating Gradient Bias in Multi-objective Learning: A Provably
      Convergent Approach, 2023, arXiv 2210.12624.

    Differences from released code:
      The authors' has no rho (0 here). A task absent from the batch keeps its average
      and the time t of that; the others move within the share of the simplex they
      hold.
    """
    expect_number("beta", beta, above=0, at_most=1)
    for name, value in (
        ("beta_decay", beta_decay),
        ("gamma", gamma),
        ("gamma_decay", gamma_decay),
        ("rho", rho),
    ):
        expect_number(name, value, at_least=0)
    expect_one_of("variant", variant, ("paper", "libmtl"))

    def start(shared: Any) -> tuple[Any, Float[Array, " K"], tuple[Array, Array]]:
        weights = task_numbers(shared, num_tasks, 1 / num_tasks)
        counts = jnp.zeros(num_tasks, jnp.int32), jnp.zeros((), jnp.int32)
        return zero_rows(shared, num_tasks), weights, counts

    def reduce(memory: Any, evaluation: Evaluation) -> Reduced:
        rows, present = evaluation.rows, evaluation.present
        y, weights, (seen, step) = memory
        seen, step = seen + present, step + present.any()
        if variant == "libmtl":
            norms = row_norms(some_rows(rows, num_tasks))
            rows_in = scale_rows(evaluation.losses / (norms + 1e-8), rows)
        else:
            rows_in = rows
        track = beta * jnp.maximum(seen, 1).astype(float) ** -beta_decay
        moved = jax.tree.map(
            jnp.add, scale_rows(1 - track, y), scale_rows(track, rows_in)
        )
        y = where_present(present, moved, y)

        shares, total = share_of(weights, present)
        products = gramian(some_rows(y, num_tasks))
        slope = jnp.matmul(products, shares, precision="highest") + rho * shares
        pace = gamma * jnp.maximum(step, 1).astype(float) ** -gamma_decay
        if variant == "libmtl":
            taking_part = present | ~present.any()
            new = jax.nn.softmax(
                jnp.where(taking_part, shares - pace * slope, -jnp.inf)
            )
        else:
            new = project_simplex(shares - 2 * pace * slope, present)
        weights = jnp.where(present, total * new, weights).astype(weights.dtype)
        return new, optax.tree.cast_like(y, rows), (y, weights, (seen, step))

    least = 0.0 if variant == "libmtl" else None
    return row_weighting(
        num_tasks,
        reduce,
        heads=heads,
        reduction="mean",
        memory=start,
        least_losses=least,
    )
