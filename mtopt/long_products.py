"""Inner products of few long vectors, in the time that reading them takes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Columns of a part: XLA:CPU multiplies few rows of millions of numbers four times as
# fast part after part as at once.
CHUNK = 4096


def flat_products(
    rows: Float[Array, "K n"], others: Float[Array, "M n"]
) -> Float[Array, "K M"]:
    """Inner products of two sets of vectors; accumulated as in :func:`mtopt.gramian`.

    Args:
      rows: ``[K, n]``.
      others: ``[M, n]``.

    Example:
      >>> flat_products(jnp.eye(2), jnp.array([[3., 4.]])).tolist()
      [[3.0], [4.0]]
    """

    def at_once(some: Array, those: Array) -> Array:
        return jnp.einsum(
            "id,jd->ij",
            some,
            those,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.promote_types(rows.dtype, jnp.float32),
        )

    def in_chunks(rows: Array, others: Array) -> Array:
        whole = rows.shape[1] // CHUNK

        def add(total: Array, start: Array) -> tuple[Array, None]:
            some, those = (
                jax.lax.dynamic_slice_in_dim(each, start, CHUNK, 1)
                for each in (rows, others)
            )
            return total + at_once(some, those), None

        rest = at_once(rows[:, whole * CHUNK :], others[:, whole * CHUNK :])
        return jax.lax.scan(add, rest, jnp.arange(whole) * CHUNK)[0]

    if rows.shape[1] < 4 * CHUNK:
        return at_once(rows, others)
    return jax.lax.platform_dependent(rows, others, cpu=in_chunks, default=at_once)
