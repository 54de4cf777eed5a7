"""Weights that outlive their step: what they mean where other tasks are present."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.linalg import divide_or_zero

# What tasks that a solve left at zero hold, so that a later one among them is kept.
LEAST = 1e-6


def spread(
    held: Float[Array, " K"],
    weights: Float[Array, " K"],
    present: Bool[Array, " K"],
    reduction: str,
) -> Float[Array, " K"]:
    """The weights of all tasks after a solve among those present.

    Where weights have a common scale, present tasks divide what they held together as
    the solve says, and the others keep their share of the whole. In the first solve
    every task counts the same. Else an absent task keeps its weight.

    Args:
      held: the weights of all tasks before, ``[K]``; zeros where there were none yet.
      weights: of the solve, ``[K]``, 0 for absent tasks.
      present: which tasks were in it, ``[K]``.
      reduction: that of the rule; see :class:`mtopt.rule.Rule`.

    Returns:
      ``[K]``; :func:`among` the same tasks they are ``weights`` again.

    Example:
      >>> held = jnp.array([0.5, 0.25, 0.25])
      >>> present = jnp.array([True, True, False])
      >>> spread(held, jnp.array([0., 1., 0.]), present, "mean").tolist()
      [0.0, 0.75, 0.25]
    """
    if reduction == "none":
        return jnp.where(present, weights, held)
    scale = _scale(present, reduction)
    total = jnp.abs(weights).sum() / scale
    whole = jnp.abs(held).sum()
    shares = jnp.where(whole > 0, divide_or_zero(held, whole), 1 / len(held))
    part = jnp.maximum(jnp.abs(jnp.where(present, shares, 0)).sum(), LEAST)
    new = jnp.where(present, weights / scale * part, total * shares)
    return jnp.where(total > 0, new, held)


def among(
    held: Float[Array, " K"], present: Bool[Array, " K"], reduction: str
) -> Float[Array, " K"]:
    """The weights that the present tasks have among themselves.

    Args:
      held: the weights of all tasks, as :func:`spread` makes them.
      present: which tasks take part, ``[K]``.
      reduction: that of the rule; see :class:`mtopt.rule.Rule`.

    Returns:
      ``[K]``, 0 for absent tasks. For ``"mean"`` their sum, for ``"sum"`` their mean,
      and for ``"share"`` their sum times their number is that of all tasks; equal where
      the present ones hold nothing.

    Example:
      >>> held = jnp.array([0.1, 0.3, 0.6])
      >>> among(held, jnp.array([True, True, False]), "mean").tolist()
      [0.25, 0.75, 0.0]
    """
    if reduction == "none":
        return jnp.where(present, held, 0)
    whole = jnp.abs(held).sum()
    own = jnp.where(present, held, 0)
    part = jnp.abs(own).sum()
    equal = whole / jnp.maximum(present.sum(), 1).astype(held.dtype)
    weights = jnp.where(part > 0, own * divide_or_zero(whole, part), equal)
    return jnp.where(present, weights * _scale(present, reduction), 0)


def _scale(present: Bool[Array, " K"], reduction: str) -> Float[Array, ""] | float:
    """The size of the weights among the present tasks, over that among all."""
    part = jnp.maximum(present.sum(), 1) / len(present)
    return {"mean": 1.0, "sum": part, "share": 1 / part}[reduction]
