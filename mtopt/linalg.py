"""Inner products and sums of per-task gradients, leaf by leaf."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gramian(rows: Any) -> Float[Array, "K K"]:
    """All inner products of the K task gradients, ``G[i, j] = <g_i, g_j>``.

    Summed leaf by leaf, without a flattened copy of the parameters, and accumulated
    in float32 at full precision (a bfloat16 sum of 100,000 ones gives 99,840;
    float64 rows stay in float64).

    Args:
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.

    Returns:
      The symmetric Gramian.

    Example:
      >>> gramian({"w": jnp.array([[3., 4.], [1., 0.]]),
      ...          "b": jnp.array([0., 2.])}).tolist()
      [[25.0, 3.0], [3.0, 5.0]]
    """

    def leaf_gramian(leaf):
        flat = leaf.reshape(leaf.shape[0], -1)
        return jnp.einsum(
            "id,jd->ij",
            flat,
            flat,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.promote_types(leaf.dtype, jnp.float32),
        )

    return sum(leaf_gramian(leaf) for leaf in jax.tree.leaves(rows))  # pyright: ignore[reportReturnType]


def combine(weights: Float[Array, " K"], rows: Any) -> Any:
    """The weighted sum of the task gradients, ``sum_k w_k g_k``.

    Args:
      weights: one weight per task.
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.

    Returns:
      A pytree without the task axis, in the dtype of the rows.

    Example:
      >>> combine(jnp.array([0.5, 2.]), jnp.array([[2., 0.], [0., 1.]])).tolist()
      [1.0, 2.0]
    """

    def leaf_sum(leaf):
        total = jnp.tensordot(
            weights,
            leaf,
            axes=1,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.promote_types(leaf.dtype, jnp.float32),
        )
        return total.astype(leaf.dtype)

    return jax.tree.map(leaf_sum, rows)
