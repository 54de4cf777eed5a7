"""Sums of task vectors: the average, and task arithmetic."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.linalg import combine
from mtopt.merging.task_vectors import expect_vectors


def added(base: Any, weights: Float[Array, " n"], vectors: Any) -> Any:
    """The base, and a weighted sum of vectors: one pass over them.

    Args:
      base: a tree.
      weights: one for each vector.
      vectors: a tree like it, leaves ``[n, ...]``.
    """
    expect_vectors(base, vectors)
    return changed(base, combine(weights, vectors))


def changed(base: Any, change: Any) -> Any:
    """The base with a change, in its own dtypes.

    Args:
      base: a tree.
      change: a tree like it.
    """
    return jax.tree.map(lambda leaf, own: leaf + own.astype(leaf.dtype), base, change)


def count(vectors: Any) -> int:
    """How many vectors there are."""
    return len(jax.tree.leaves(vectors)[0])


def average(base: Any, vectors: Any) -> Any:
    r"""The mean of the tuned models.

    .. math:: \theta = \theta_0 + \frac{1}{n} \sum_i \tau_i

    Args:
      base: :math:`\theta_0`.
      vectors: :func:`mtopt.merging.task_vectors`, leaves ``[n, ...]``.

    Returns:
      Parameters like those of the base.

    Example:
      >>> average({"w": jnp.ones(1)}, {"w": jnp.array([[1.], [3.]])})["w"].tolist()
      [3.0]
    """
    n = count(vectors)
    return added(base, jnp.full(n, 1 / n), vectors)


def task_arithmetic(base: Any, vectors: Any, scale: float | Array = 0.3) -> Any:
    r"""The base and the scaled sum of all vectors.

    .. math:: \theta = \theta_0 + \lambda \sum_i \tau_i

    Args:
      base: :math:`\theta_0`.
      vectors: :func:`mtopt.merging.task_vectors`, leaves ``[n, ...]``.
      scale: :math:`\lambda`, to be chosen on held-out samples of all tasks; the paper's
        0.3 was good for eight of them. A negative one makes a model forget.

    Returns:
      Parameters like those of the base.

    Example:
      >>> vectors = {"w": jnp.array([[1.], [3.]])}
      >>> task_arithmetic({"w": jnp.ones(1)}, vectors, scale=0.5)["w"].tolist()
      [3.0]

    References:
      Ilharco et al., Editing Models with Task Arithmetic, 2022, arXiv 2212.04089.
    """
    return added(base, jnp.full(count(vectors), scale), vectors)
