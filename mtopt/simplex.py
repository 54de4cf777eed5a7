"""Convex weights over tasks: uniform ones, means, shares, projections."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def uniform_over(present: Bool[Array, " K"]) -> Float[Array, " K"]:
    """Equal weights on the present tasks, summing to 1 (to 0 where none is).

    In the widest floating type there is: a third in float32 is not one in float64.

    Example:
      >>> uniform_over(jnp.array([True, False, True])).tolist()
      [0.5, 0.0, 0.5]
    """
    return present.astype(float) / jnp.maximum(present.sum(), 1)


def mean_over(
    present: Bool[Array, " K"], values: Float[Array, " K"]
) -> Float[Array, ""]:
    """The mean over the present tasks, 0 where none is.

    Example:
      >>> float(mean_over(jnp.array([True, False, True]), jnp.array([1., 9., 3.])))
      2.0
    """
    return jnp.vdot(uniform_over(present).astype(values.dtype), values)


def project_simplex(
    values: Float[Array, " K"], present: Bool[Array, " K"] | None = None
) -> Float[Array, " K"]:
    r"""The nearest convex weights: Euclidean projection on the simplex.

    .. math:: w = \operatorname*{argmin}_{w \ge 0,\ \sum_k w_k = 1} \|w - v\|^2

    which is :math:`w_k = \max(v_k - \theta, 0)`, the threshold from one sort. Values
    are first measured from the largest one: no sum then cancels, however large they
    are, and those 1 or more below it have weight 0 anyway.

    Args:
      values: v, ``[K]``, finite.
      present: which tasks take part, ``[K]``; None for all. The others have weight 0,
        as if they did not exist; all have where nobody is present.

    Returns:
      The weights, ``[K]``.

    Example:
      >>> project_simplex(jnp.array([0.5, 1., -3.])).tolist()
      [0.25, 0.75, 0.0]

    Source: Duchi et al., Efficient Projections onto the l1-Ball for Learning in High
    Dimensions, ICML 2008.
    """
    if present is None:
        present = jnp.ones(values.shape, bool)
    below = values - jnp.max(jnp.where(present, values, -jnp.inf), initial=-3e38)
    below = jnp.where(present, jnp.clip(below, -1, 0), -1)
    falling = -jnp.sort(-below)
    excess = jnp.cumsum(falling) - 1
    count = jnp.arange(1, len(values) + 1, dtype=values.dtype)
    last = jnp.sum(falling * count > excess) - 1
    return jnp.where(present, jnp.maximum(below - excess[last] / count[last], 0), 0)


def share_of(
    weights: Float[Array, " K"], present: Bool[Array, " K"]
) -> tuple[Float[Array, " K"], Float[Array, ""]]:
    """The convex weights of the present tasks among themselves, and what they hold.

    A method that moves weights within the simplex moves the shares of the tasks in
    the batch, and gives them back their part of the whole: ``where(present, total *
    new_shares, weights)``. The weights of the others, and the sum, stay as they were.

    Args:
      weights: non-negative weights, ``[K]``.
      present: which tasks take part, ``[K]``.

    Returns:
      Shares of sum 1 (uniform where the present tasks hold nothing, zeros where
      nobody is present), and their total before.

    Example:
      >>> present = jnp.array([True, True, False])
      >>> shares, total = share_of(jnp.array([0.375, 0.125, 0.5]), present)
      >>> shares.tolist(), total.tolist()
      ([0.75, 0.25, 0.0], 0.5)
    """
    held = jnp.where(present, weights, 0)
    total = jnp.sum(held)
    uniform = uniform_over(present)
    shares = jnp.where(total > 0, held / jnp.where(total > 0, total, 1), uniform)
    return shares.astype(weights.dtype), total
