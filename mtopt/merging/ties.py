"""TIES: trim small changes, elect a sign, average those that agree."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from mtopt.errors import expect, expect_one_of
from mtopt.merging.arithmetic import changed
from mtopt.merging.task_vectors import expect_vectors

PER = ("array", "model")


def ties(
    base: Any,
    vectors: Any,
    *,
    density: float = 0.2,
    scale: float | Array = 1.0,
    per: str = "model",
) -> Any:
    r"""Merges what the tuned models agree on, entry by entry.

    Of each vector the :math:`\lfloor \rho D \rfloor` entries of largest magnitude are
    kept, the rest are 0. An entry then has the sign of the sum, and becomes the mean of
    those that have it:

    .. math::
       \gamma = \operatorname{sign} \sum_i \hat\tau_i, \qquad
       \theta = \theta_0 + \lambda\, \frac{\sum_i \hat\tau_i [\hat\tau_i \gamma > 0]}
                                          {\sum_i [\hat\tau_i \gamma > 0]}

    Args:
      base: :math:`\theta_0`.
      vectors: :func:`mtopt.merging.task_vectors`, leaves ``[n, ...]``.
      density: :math:`\rho`, the share that is kept, in (0, 1]; 0.2 as in the paper.
        Among equal magnitudes the first are kept.
      scale: :math:`\lambda`; 1 as in the paper without a set to choose it on.
      per: ``"model"``: the largest of all entries of a vector, as in the paper;
        ``"array"``: of each array, as mergekit has it; of one of fewer than
        :math:`1 / \rho` entries nothing is kept.

    Returns:
      Parameters like those of the base. Where the sum is exactly 0 its sign counts as
      positive.

    Raises:
      UserError: for a density out of range, another ``per``, or vectors of another
        tree.

    Example:
      Two vectors disagree in the first entry, and the larger one wins:

      >>> vectors = {"w": jnp.array([[3., 1., 0.1], [-1., 2., 0.]])}
      >>> ties({"w": jnp.zeros(3)}, vectors, density=0.7)["w"].tolist()
      [3.0, 1.5, 0.0]

    References:
      Yadav et al., TIES-Merging: Resolving Interference When Merging Models, 2023,
      arXiv 2306.01708.

    Differences from released code:
      It keeps all entries at the threshold, so that more than the share may stay, and
      gives a sum of exactly 0 the sign that most entries have.
    """
    expect(0 < density <= 1, "density", density, "in (0, 1]")
    expect_one_of("per", per, PER)
    expect_vectors(base, vectors)

    def of_array(own: Float[Array, "n ..."]) -> Float[Array, "..."]:
        wide = jnp.promote_types(own.dtype, jnp.float32)
        flat = own.astype(wide).reshape(len(own), -1)
        kept = jax.vmap(lambda vector: _trimmed(vector, density))(flat)
        return _elected(kept).reshape(own.shape[1:])

    if per == "array":
        change = jax.tree.map(of_array, vectors)
    else:
        first = jax.tree.map(lambda leaf: leaf[0], vectors)
        flat = jax.vmap(lambda vector: ravel_pytree(vector)[0])(vectors)
        change = ravel_pytree(first)[1](of_array(flat))
    return changed(base, jax.tree.map(lambda own: scale * own, change))


def _trimmed(vector: Float[Array, " D"], density: float) -> Float[Array, " D"]:
    """The largest entries; the rest 0."""
    kept = math.floor(density * len(vector) + 1e-9)  # of .29 * 100 29
    _, places = jax.lax.top_k(jnp.abs(vector), kept)
    return jnp.zeros_like(vector).at[places].set(vector[places])


def _elected(vectors: Float[Array, "n D"]) -> Float[Array, " D"]:
    """The mean of the entries that have the sign of their sum."""
    positive = vectors.sum(axis=0) >= 0
    agrees = jnp.where(positive[None], vectors > 0, vectors < 0) | jnp.isnan(vectors)
    total = jnp.where(agrees, vectors, 0).sum(axis=0)
    return total / jnp.maximum(agrees.sum(axis=0), 1).astype(total.dtype)
