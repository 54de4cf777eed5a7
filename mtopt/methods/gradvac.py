"""GradVac: turn every pair of gradients towards the angle it usually has."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import weight_dtype
from mtopt.memory.count import no_updates
from mtopt.methods.pcgrad import ORDERS, visiting_orders
from mtopt.options import Number
from mtopt.registry import method


@method(family="gramian", traits=("random",))
def gradvac(
    num_tasks: int,
    *,
    beta: Number = 1e-2,
    targets: str = "all",
    order: str = "per_task",
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Gradient Vaccine: PCGrad with a target for the cosine of every pair of tasks.

    Every task starts from :math:`\tilde g_i = g_i` and visits the other tasks j. Where
    the cosine :math:`\phi` of :math:`\tilde g_i` and :math:`g_j` is below the target
    :math:`\hat\phi_{ij}`, the gradient is turned until it has that cosine:

    .. math::
       \tilde g_i \leftarrow \tilde g_i + \frac{\|\tilde g_i\| \,
           (\hat\phi_{ij} \sqrt{1 - \phi^2} - \phi \sqrt{1 - \hat\phi_{ij}^2})}
           {\|g_j\| \sqrt{1 - \hat\phi_{ij}^2}} \, g_j,
       \qquad \hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi,
       \qquad d = \sum_i \tilde g_i

    Targets start at 0, where the turn is PCGrad's projection; tasks that usually agree
    are then pulled together even where they do not conflict.

    Args:
      num_tasks: K, at least 1.
      beta: the rate at which the targets follow the cosines, in [0, 1]; 0 keeps
        PCGrad. The paper has 1e-2, LibMTL, Samsung's code and TorchJD 0.5.
      targets: which targets follow. ``"all"``: those of every pair of present tasks,
        as in the paper and TorchJD; ``"turned"``: of the pairs below their target
        only, as in LibMTL and Samsung's code, whose targets can then only fall.
      order: in which order a task visits the others, as in
        :func:`mtopt.methods.pcgrad.pcgrad`.
      space: where the inner products are taken; see :func:`mtopt.methods.mgda.mgda`.
      heads: ``"plain"`` leaves a task's own parameters their own gradient, as LibMTL
        and Samsung's code do; ``"weighted"`` scales it by the task's weight in d.

    Returns:
      An aggregator. Its memory holds the targets, ``[K, K]``, those of an absent task
      untouched. The step's ``key`` sets the orders; without one, a count of the
      updates does.

    Raises:
      UserError: for a ``beta`` outside [0, 1] or an unknown option.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = gradvac(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(w), 3) for w in state.weights]
      [2.222, 1.579]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Wang et al., Gradient Vaccine: Investigating and Improving Multi-task
      Optimization in Massively Multilingual Models, 2020, arXiv 2010.05874.

    Differences from released code:
      As in LibMTL and TorchJD the cosine is that of the partly turned gradient. It is
      taken over all shared parameters; the paper's targets for each layer, and
      LibMTL's for each matrix, are not offered. A target within rounding of 1 counts
      as the largest cosine below it that can be told from 1 (they divide by zero, or
      by 1e-8), and a gradient of zero turns nothing.
    """
    expect_number("beta", beta, at_least=0, at_most=1)
    expect_one_of("targets", targets, ("all", "turned"))
    expect_one_of("order", order, ORDERS)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        target, count = memory
        orders = visiting_orders(order, num_tasks, evaluation.random_key(count))
        weights, cosines = gradvac_weights(gramian, target, orders)
        follows = present[:, None] & present[None, :]
        if targets == "turned":
            follows &= cosines < target
        moved = (1 - beta) * target + beta * cosines.astype(target.dtype)
        return weights, (jnp.where(follows, moved, target), count + 1)

    def start(shared: Any) -> tuple[Float[Array, "K K"], Int[Array, ""]]:
        targets = jnp.zeros((num_tasks, num_tasks), weight_dtype(shared))
        return targets, no_updates(shared)

    return on_gramian(
        num_tasks, weigh, heads=heads, reduction="sum", space=space, memory=start
    )


@jax.jit
def gradvac_weights(
    gramian: Float[Array, "K K"],
    target: Float[Array, "K K"],
    orders: Int[Array, "K K"],
) -> tuple[Float[Array, " K"], Float[Array, "K K"]]:
    """What every gradient counts in the sum of the turned ones, and the cosines met.

    Args:
      gramian: G = J J^T, ``[K, K]``; a row of zeros neither turns nor is turned.
      target: the cosine that task i shall have with task j, ``[K, K]``, in [-1, 1].
      orders: ``orders[i]`` is the order in which task i visits the tasks, a
        permutation of ``0 .. K - 1``; its visit of itself does nothing.

    Returns:
      The weights, ``[K]``, and at ``[i, j]`` the cosine of gradient i, as turned by
      then, with gradient j when i visited j (0 for a gradient of zero, and for i = j).
    """
    tasks = jnp.arange(len(gramian))
    squared = jnp.diagonal(gramian)
    norms = jnp.sqrt(squared)
    # Above this cosine, rounding decides what an angle is.
    limit = 1 - 16 * float(jnp.finfo(gramian.dtype).eps)
    target = jnp.minimum(target.astype(gramian.dtype), limit)

    def visit(
        state: tuple[Array, Array], visited: Int[Array, " K"]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """All tasks at once; ``products[i, j]`` is <turned g_i, g_j>."""
        products, own_squared = state
        product, length = products[tasks, visited], norms[visited]
        own = jnp.sqrt(own_squared)
        valid = (own > 0) & (length > 0) & (visited != tasks)
        cosine = product / jnp.where(valid, own, 1) / jnp.where(valid, length, 1)
        cosine = jnp.where(valid, jnp.clip(cosine, -1, 1), 0)
        goal = target[tasks, visited]
        turns = valid & (cosine < goal)
        sines = jnp.sqrt((1 - cosine**2) / jnp.where(turns, 1 - goal**2, 1))
        ratio = own / jnp.where(turns, length, 1)
        step = jnp.where(turns, ratio * (goal * sines - cosine), 0)
        own_squared += step * (2 * product + step * squared[visited])
        products += step[:, None] * gramian[visited]
        return (products, jnp.maximum(own_squared, 0)), (step, cosine)

    _, (steps, cosines) = lax.scan(visit, (gramian, squared), orders.T)
    added, met = (
        jnp.put_along_axis(
            jnp.zeros_like(gramian), orders, values.T, axis=1, inplace=False
        )
        for values in (steps, cosines)
    )
    return 1 + added.sum(axis=0), met
