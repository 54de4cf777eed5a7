"""The shortest combination of K rows: the quadratic program of MGDA."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.solvers.dense import check_gramian, correlation
from mtopt.solvers.nonnegative_qp import nonnegative_qp


def min_norm_weights(
    gramian: Float[Array, "K K"], present: Bool[Array, " K"] | None = None
) -> Float[Array, " K"]:
    """The convex weights of the shortest combination of K rows: MGDA's solve.

    The weights are w = argmin w^T G w over w >= 0, sum_k w_k = 1, so that
    d = J^T w is the point nearest the origin in the convex hull of the rows, and
    ``g_k . d >= |d|^2`` for every task k. With s_k the power of two next to
    1 / sqrt(G_kk), q = s / max s and C = diag(s) G diag(s), the solve is
    ``u = nonnegative_qp(C + q q^T, q)`` and w = q u / sum(q u).

    Accuracy, judged in float64 on the Gramian as given, K up to 128: w^T G w
    exceeds the optimum by at most 1e-7 (float64: 1e-14) of the mean squared row
    norm plus 1e-4 (1e-8) of the optimum, also where rows repeat, depend on each
    other, or differ in length by 20 powers of ten; the worst Gramian tried takes
    a third (a hundredth) of that. Scaling G leaves the weights as they are up to
    rounding. Where several w are optimal, w is one of them.

    Args:
      gramian: G = J J^T, ``[K, K]``, float32 or float64, K >= 1, finite, in any
        unit; negative eigenvalues the size of rounding do no harm.
      present: which tasks take part, ``[K]``; ``None`` for all. The others have
        weight exactly 0, and the rest are weighed as if they did not exist.

    Returns:
      The weights, ``[K]``, dtype of ``gramian``, >= 0, of sum 1. A present row of
      length zero is a shortest combination by itself: the weights are then uniform
      over such rows. They are all 0 if no task is present.

    Raises:
      UserError: ``gramian`` is not a square float32 or float64 matrix, or
        ``present`` does not have its K entries.

    Example:
      >>> import jax.numpy as jnp
      >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
      >>> weights = min_norm_weights(rows @ rows.T)
      >>> [round(float(w), 4) for w in weights]
      [0.6, 0.4]

    Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for
    multiobjective optimization", 2012; Sener and Koltun, "Multi-Task Learning as
    Multi-Objective Optimization", 2018, arXiv:1810.04650. They solve the same
    problem by a line search over pairs and by Frank-Wolfe, to a tolerance.
    """
    check_gramian(gramian, present)
    if present is None:
        present = jnp.ones(len(gramian), bool)
    matrix, scale = correlation(gramian, present)
    zero = present & (scale == 0)
    q = scale / jnp.where(jnp.any(scale > 0), jnp.max(scale), 1)

    u = nonnegative_qp(matrix + q[:, None] * q[None, :], q)
    weights = jnp.where(jnp.any(zero), zero.astype(q.dtype), q * u)
    return weights / jnp.where(jnp.any(present), jnp.sum(weights), 1)
