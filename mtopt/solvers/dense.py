"""Dense linear algebra of the solvers: correlation matrix, Cholesky, checks."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError


def correlation(
    gramian: Float[Array, "K K"], present: Bool[Array, " K"]
) -> tuple[Float[Array, "K K"], Float[Array, " K"]]:
    """The Gramian of the rows scaled to a length of about one.

    Args:
      gramian: G, ``[K, K]``.
      present: which tasks take part, ``[K]``.

    Returns:
      C = diag(s) G diag(s) and s, ``[K]``, where s_k is the power of two next to
      1 / sqrt(G_kk): scaling by it rounds nothing, and the diagonal of C is between
      1/2 and 2. Absent tasks and rows of length zero have s_k = 0, and the row and
      column of the identity in C.

    Example:
      >>> gramian = jnp.array([[16.0, 8.0], [8.0, 64.0]])
      >>> matrix, scale = correlation(gramian, jnp.array([True, True]))
      >>> matrix.tolist(), scale.tolist()
      ([[1.0, 0.25], [0.25, 1.0]], [0.25, 0.125])
    """
    squared = jnp.diagonal(gramian)
    solved = present & (squared >= jnp.finfo(gramian.dtype).tiny)
    _, exponent = jnp.frexp(squared)
    scale = jnp.where(solved, jnp.ldexp(jnp.ones_like(squared), -(exponent // 2)), 0)
    pair = solved[:, None] & solved[None, :]
    matrix = jnp.where(pair, gramian * scale[:, None] * scale[None, :], 0)
    matrix = jnp.clip(matrix, -2, 2)  # larger only where G is no Gramian
    return matrix + jnp.diag((~solved).astype(scale.dtype)), scale


def cholesky(matrix: Float[Array, "K K"]) -> Float[Array, "K K"]:
    """The lower factor of a symmetric matrix; NaN where it is not positive."""
    return lax.linalg.cholesky(matrix, symmetrize_input=False)


def cholesky_solve(
    factor: Float[Array, "K K"], rhs: Float[Array, " K"]
) -> Float[Array, " K"]:
    """Solves L L^T x = rhs."""
    half = lax.linalg.triangular_solve(factor, rhs[:, None], left_side=True, lower=True)
    return lax.linalg.triangular_solve(
        factor, half, left_side=True, lower=True, transpose_a=True
    )[:, 0]


def matvec(
    matrix: Float[Array, "K K"], vector: Float[Array, " K"]
) -> Float[Array, " K"]:
    """M v in full float32, which accelerators do not do unasked."""
    return jnp.matmul(matrix, vector, precision=lax.Precision.HIGHEST)


def check_gramian(
    gramian: Float[Array, "..."], present: Bool[Array, "..."] | None
) -> None:
    """Raises a UserError for a Gramian or mask of another shape or dtype."""
    k = gramian.shape[0] if gramian.ndim == 2 else 0
    precise = gramian.dtype in (jnp.float32, jnp.float64)
    if not precise or k == 0 or gramian.shape != (k, k):
        raise UserError(
            f"gramian is {gramian.dtype}{list(gramian.shape)}; expected float32 or "
            "float64 [K, K] with K >= 1: compute J @ J.T with float32 accumulation"
        )
    if present is not None and present.shape != (k,):
        raise UserError(
            f"present has shape {list(present.shape)}; expected [{k}], one entry for "
            "each row of gramian: pass the mask of the tasks in the batch"
        )
