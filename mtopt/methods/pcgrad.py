"""PCGrad: project every task's gradient off the gradients it conflicts with."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.memory.count import no_updates
from mtopt.registry import method

ORDERS = ("per_task", "shared", "fixed")


@method(family="gramian", traits=("random",))
def pcgrad(
    num_tasks: int,
    *,
    order: str = "per_task",
    reduction: str = "sum",
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Gradient surgery: takes from each gradient what opposes another task's.

    Every task starts from :math:`\tilde g_i = g_i` and visits the other tasks j, one
    after another:

    .. math::
       \tilde g_i \leftarrow \tilde g_i - \frac{\min(0, \langle \tilde g_i, g_j
           \rangle)}{\|g_j\|^2} \, g_j, \qquad d = \sum_i \tilde g_i

    The projection is onto the plane normal to the original :math:`g_j`. For two tasks
    d conflicts with neither; for more, a later projection may undo an earlier one.

    Args:
      num_tasks: K, at least 1.
      order: in which order a task visits the others. ``"per_task"``: at random, anew
        for every task and step, as in the paper and LibMTL; ``"shared"``: at random,
        one order for all tasks of a step; ``"fixed"``: that of the tasks, as the
        authors' TensorFlow code has it (it drops the result of its shuffle), and the
        PCGrad of ConFIG.
      reduction: ``"sum"`` of the projected gradients, as in the paper; ``"mean"`` over
        the present tasks, as in CAGrad's code.
      space: where the inner products are taken; see :func:`mtopt.methods.mgda.mgda`.
      heads: ``"plain"`` leaves a task's own parameters their own gradient: the paper
        projects those of shared parameters (so do LibMTL and nash-mtl); ``"weighted"``
        scales it by the task's weight in d.

    Returns:
      An aggregator. The step's ``key`` sets the orders; without one, a count of the
      updates in its memory does.

    Raises:
      UserError: for an unknown option.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = pcgrad(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(w), 3) for w in state.weights]
      [2.222, 1.579]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Yu et al., Gradient Surgery for Multi-Task Learning, 2020, arXiv 2001.06782.

    Differences from released code:
      They project vectors of the size of the model, K (K - 1) times in turn. The
      projected gradients stay in the span of the K rows, so all K tasks take their
      t-th visit at once here, on inner products: O(K^3) numbers, none of them of the
      size of the model. A gradient of zero projects nothing (they divide by zero).
    """
    expect_one_of("order", order, ORDERS)
    expect_one_of("reduction", reduction, ("sum", "mean"))

    def weigh(count: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        orders = visiting_orders(order, num_tasks, evaluation.random_key(count))
        weights = pcgrad_weights(gramian, orders)
        if reduction == "mean":
            weights = weights / jnp.maximum(present.sum(), 1)
        return weights, count + 1

    return on_gramian(
        num_tasks,
        weigh,
        heads=heads,
        reduction=reduction,
        space=space,
        memory=no_updates,
    )


@jax.jit
def pcgrad_weights(
    gramian: Float[Array, "K K"], orders: Int[Array, "K K"]
) -> Float[Array, " K"]:
    r"""What every task's gradient counts in the sum of the projected ones.

    Args:
      gramian: G = J J^T, ``[K, K]``; a row of zeros neither projects nor is projected.
      orders: ``orders[i]`` is the order in which task i visits the tasks, a
        permutation of ``0 .. K - 1``; its visit of itself does nothing.

    Returns:
      The weights w with :math:`\sum_i \tilde g_i = \sum_k w_k g_k`, all at least 1.
    """
    tasks = jnp.arange(len(gramian))
    squared = jnp.diagonal(gramian)

    def visit(
        products: Float[Array, "K K"], visited: Int[Array, " K"]
    ) -> tuple[Float[Array, "K K"], Float[Array, " K"]]:
        """All tasks at once; ``products[i, j]`` is <projected g_i, g_j>."""
        product = products[tasks, visited]
        length = squared[visited]
        conflict = (product < 0) & (visited != tasks) & (length > 0)
        step = jnp.where(conflict, -product / jnp.where(conflict, length, 1), 0)
        return products + step[:, None] * gramian[visited], step

    _, steps = lax.scan(visit, gramian, orders.T)
    added = jnp.put_along_axis(
        jnp.zeros_like(gramian), orders, steps.T, axis=1, inplace=False
    )
    return 1 + added.sum(axis=0)


def visiting_orders(
    order: str, num_tasks: int, key: Key[Array, ""]
) -> Int[Array, "K K"]:
    """The order in which each task visits the others, a permutation in every row.

    Args:
      order: ``"per_task"``: an independent random permutation for each task;
        ``"shared"``: one for all; ``"fixed"``: ``0 .. K - 1``.
      num_tasks: K.
      key: the randomness; ``"fixed"`` has none.

    Example:
      >>> import jax
      >>> visiting_orders("fixed", 3, jax.random.key(0)).tolist()
      [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
    """
    if order == "fixed":
        orders = jnp.arange(num_tasks, dtype=jnp.int32)[None]
    else:
        number = num_tasks if order == "per_task" else 1
        draws = jax.random.bits(key, (number, num_tasks), jnp.uint32)
        orders = jnp.argsort(draws, axis=1)
    return jnp.broadcast_to(orders, (num_tasks, num_tasks))
