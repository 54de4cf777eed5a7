"""Normalisation of per-task gradients by norm, loss, or both."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.errors import expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.transforms.row_transformation import row_transformation


def normalize_rows(
    num_tasks: int, *, by: str = "l2"
) -> optax.GradientTransformationExtraArgs:
    r"""Divides every task's gradient by its norm, its loss, or both.

    .. math:: g_k \leftarrow \frac{g_k}{n_k}, \qquad
              n_k = \|g_k\|, \; L_k, \; \text{or} \; L_k \|g_k\|

    before an aggregator sees them: a task with a small loss or a small gradient then
    counts as much as the others. The direction is the sum of scaled gradients. To scale
    them in the solve alone, use the ``normalize`` option of :func:`mtopt.mgda`.

    Args:
      num_tasks: K, at least 1.
      by: what to divide by: ``"l2"`` the norm, ``"loss"`` the loss, ``"loss+"`` both.

    Returns:
      A transformation from rows to rows, to stand before an aggregator. A row of zeros,
      and that of a task whose loss is 0, is left as it is. It reads the losses for
      ``loss`` and ``loss+``. The tasks' own parameters keep their gradients.

    Raises:
      UserError: for another ``by``, or (on update) leaves without the task axis.

    Example:
      >>> tx = normalize_rows(2)
      >>> rows, _ = tx.update(jnp.array([[3., 4.], [0., 0.]]), tx.init(jnp.zeros(2)))
      >>> print(rows.round(3))
      [[0.6 0.8]
       [0.  0. ]]

    References:
      Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, 2018, arXiv
      1810.04650, whose code names these three.
    """
    expect_one_of("by", by, ("l2", "loss", "loss+"))

    def change(evaluation: Evaluation, state: Any) -> tuple[Evaluation, Any]:
        if by in ("l2", "loss+"):
            evaluation = _over(evaluation.norms(), evaluation)
        if by in ("loss", "loss+"):
            evaluation = _over(jnp.abs(evaluation.losses), evaluation)
        return evaluation, state

    least = None if by == "l2" else 0.0
    return row_transformation(num_tasks, change, least_losses=least)


def _over(scale: Float[Array, " K"], evaluation: Evaluation) -> Evaluation:
    """Every row over its scale, where there is one."""
    return evaluation.scaled(1 / jnp.where(scale > 0, scale, 1))
