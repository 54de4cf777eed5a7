"""The average of tuned models, weighted entry by entry by their Fisher information."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtopt.merging.task_vectors import expect_vectors


def fisher(base: Any, vectors: Any, information: Any) -> Any:
    r"""Where a model is sure of an entry, the entry is near that model's.

    .. math:: \theta = \theta_0 + \frac{\sum_i F_i \odot \tau_i}{\sum_i F_i}

    Args:
      base: :math:`\theta_0`.
      vectors: :func:`mtopt.merging.task_vectors`, leaves ``[n, ...]``.
      information: :math:`F_i`, the diagonals of the Fisher matrices, such as means of
        squared gradients of the log-likelihood at the tuned models: a tree like the
        vectors, at least 0; times a number for each model where models count unequally.

    Raises:
      UserError: for vectors or information of another tree than the base.

    Returns:
      Parameters like those of the base: of an entry of which no model knows anything,
      all F being 0, the average.

    Example:
      >>> vectors = {"w": jnp.array([[1., 1.], [3., 3.]])}
      >>> sure = {"w": jnp.array([[3., 0.], [1., 0.]])}
      >>> fisher({"w": jnp.zeros(2)}, vectors, sure)["w"].tolist()
      [1.5, 2.0]

    References:
      Matena and Raffel, Merging Models with Fisher-Weighted Averaging, 2021, arXiv
      2111.09832.
    """
    expect_vectors(base, vectors)
    expect_vectors(base, information)

    def one(start: Array, own: Array, known: Array) -> Array:
        known = known.astype(jnp.promote_types(known.dtype, jnp.float32))
        most = known.max(axis=0)
        shares = known / jnp.where(most > 0, most, 1)[None]  # whose sum is no overflow
        weights = jnp.where(most[None] > 0, shares, 1)
        change = (weights * own).sum(axis=0) / weights.sum(axis=0)
        return start + change.astype(start.dtype)

    return jax.tree.map(one, base, vectors, information)
