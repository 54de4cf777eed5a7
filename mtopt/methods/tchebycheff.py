"""Tchebycheff scalarization: descend the worst weighted loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_one_of, expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero
from mtopt.options import Numbers
from mtopt.registry import method
from mtopt.simplex import share_of

FORMS = ("product", "quotient")


@method(family="losses")
def tchebycheff(
    num_tasks: int,
    *,
    preference: Numbers | None = None,
    ideal: Numbers | None = None,
    form: str = "product",
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends the largest weighted distance of a loss from its ideal (TCH).

    .. math::
       L = \max_k \lambda_k (L_k - z_k),
       \qquad w_k = \lambda_k \, [k \text{ attains the maximum}]

    Its minimisers for all preferences are all the Pareto optima, where a weighted sum
    finds those of the convex hull only. Tasks that tie share the derivative equally.

    Args:
      num_tasks: K, at least 1.
      preference: lambda, K numbers above 0 in the sorted order of the task names;
        those of the tasks present are divided by their sum. None: all equal.
      ideal: z, K numbers, losses that no task can go below. None: zeros, for
        losses that stay above zero.
      form: ``"product"``, as above; ``"quotient"``, the modified form
        :math:`\max_k (L_k - z_k) / \lambda_k`, whose minimum lies on the ray from z
        along lambda.
      heads: ``"weighted"`` differentiates the scalarised loss; ``"plain"`` leaves a
        head its own gradient.

    Returns:
      An aggregator; it reads the losses.

    Raises:
      UserError: for a preference or ideal point that is not as above, or an unknown
        form.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = tchebycheff(2, preference=(1, 3))
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 1.])))
      >>> state.weights.tolist(), direction.tolist()
      ([0.0, 0.75], [4.5, 0.75, 0.75])

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Bowman, On the Relationship of the Tchebycheff Norm and the Efficient Frontier of
      Multiple-Criteria Objectives, 1976. For deep networks: Lin et al., Smooth
      Tchebycheff Scalarization for Multi-Objective Optimization, 2024, arXiv
      2402.19078.

    Differences from released code:
      libmoon's ``tche`` returns the losses without their weights.
    """
    expect_one_of("form", form, FORMS)
    shares_among = preferred_share(preference, num_tasks)
    start = zeros_or("ideal", ideal, num_tasks)
    product = form == "product"

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        shares = shares_among(present)
        scale = shares if product else divide_or_zero(1.0, shares)
        return jax.grad(tchebycheff_loss)(losses, scale, start, present), memory

    # The weight of the worst task is its share of the tasks, or one over that.
    reduction = "share" if product else "sum"
    return weighting(
        num_tasks, weigh, heads=heads, reduction=reduction, least_losses=start
    )


def tchebycheff_loss(
    losses: Float[Array, " K"],
    scale: Float[Array | np.ndarray, " K"],
    ideal: Float[Array | np.ndarray, " K"],
    present: Bool[Array, " K"] | None = None,
) -> Float[Array, ""]:
    """The largest scaled distance of a loss from its ideal.

    Args:
      losses: ``[K]``.
      scale: what multiplies the distances, ``[K]``.
      ideal: z, ``[K]``.
      present: the tasks that count, ``[K]``; None: all.

    Example:
      >>> import jax.numpy as jnp
      >>> float(tchebycheff_loss(jnp.array([2., 1.]), jnp.ones(2), jnp.zeros(2)))
      2.0
    """
    return jnp.max(scale * (losses - ideal), where=present, initial=-jnp.inf)


def preferred_share(
    preference: Numbers | None, num_tasks: int
) -> Callable[[Bool[Array, " K"]], Float[Array, " K"]]:
    """From the tasks present to the preference as a point of their simplex.

    A task that is absent from a batch has no share.

    Args:
      preference: K numbers above 0, or None for equal ones.
      num_tasks: K.

    Raises:
      UserError: for anything else.

    Example:
      >>> shares_among = preferred_share((1, 3, 4), 3)
      >>> shares_among(jnp.array([True, True, False])).tolist()
      [0.25, 0.75, 0.0]
    """
    if preference is None:
        preference = (1,) * num_tasks
    array = expect_per_task("preference", preference, num_tasks, above=0)
    shares = array / array.sum()
    return lambda present: share_of(jnp.asarray(shares), present)[0]


def zeros_or(
    name: str, values: Numbers | None, num_tasks: int
) -> Float[Array | np.ndarray, " K"]:
    """An option of K finite numbers, zeros where it is not given.

    Args:
      name: of the option.
      values: K numbers, or None.
      num_tasks: K.

    Raises:
      UserError: for anything else.

    Example:
      >>> zeros_or("ideal", None, 2).tolist()
      [0.0, 0.0]
    """
    given = np.zeros(num_tasks) if values is None else values
    return expect_per_task(name, given, num_tasks)
