"""Task gradients of comparable length."""

import jax
import jax.numpy as jnp
import optax

from mtopt.aggregation import check_rows, split
from mtopt.errors import expect, expect_one_of


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
      and that of a task whose loss is 0, is left as it is. It needs ``losses`` for
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
    expect(num_tasks >= 1, "num_tasks", num_tasks, "at least 1")
    expect_one_of("by", by, ("l2", "loss", "loss+"))

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, *, losses=None, **extra):
        del extra
        rows, head_grads = split(updates)
        check_rows(rows, None if params is None else split(params)[0], num_tasks)
        leaves = jax.tree.leaves(rows)
        dtype = jnp.result_type(jnp.float32, *leaves)

        def per_row(reduce, leaf):
            return reduce(leaf.astype(dtype).reshape(num_tasks, -1), axis=1)

        scale = jnp.ones((num_tasks,), dtype)
        if by in ("l2", "loss+"):  # the largest entry first: squares may overflow
            largest = [per_row(jnp.max, jnp.abs(leaf)) for leaf in leaves]
            scale = jnp.max(jnp.stack(largest), axis=0)
            rows = _divide(rows, scale)
            parts = [per_row(_squares, leaf) for leaf in jax.tree.leaves(rows)]
            scale = jnp.sqrt(jnp.sum(jnp.stack(parts), axis=0))
        if by in ("loss", "loss+"):
            if losses is None:
                raise TypeError(
                    "normalize_rows.update() missing keyword argument: 'losses'"
                )
            scale = scale * jnp.abs(losses).astype(dtype)
        rows = _divide(rows, scale)
        if head_grads is None:
            return rows, state
        return {"shared": rows, "tasks": head_grads}, state

    return optax.GradientTransformationExtraArgs(init, update)


def _squares(leaf, axis):
    return jnp.sum(leaf * leaf, axis=axis)


def _divide(rows, scale):
    """Every row over its scale, where there is one."""
    inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 1)

    def divide_leaf(leaf):
        own = inverse.reshape(-1, *(1,) * (leaf.ndim - 1))
        return (leaf * own).astype(leaf.dtype)

    return jax.tree.map(divide_leaf, rows)
