"""DARE: drop most of what tuning changed, and rescale the rest."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from mtopt.errors import expect


def dare(vectors: Any, key: PRNGKeyArray, *, density: float) -> Any:
    r"""Task vectors of which each entry is kept by chance, and divided by that chance.

    .. math::
       \tilde\tau = \frac{m \odot \tau}{p}, \qquad m \sim \operatorname{Bernoulli}(p),
       \qquad \operatorname{E} \tilde\tau = \tau

    They go into any other rule: ``task_arithmetic(base, dare(vectors, key,
    density=0.1))``, ``ties(base, dare(...))``.

    Args:
      vectors: :func:`mtopt.merging.task_vectors`, leaves ``[n, ...]``.
      key: of the masks, one for each vector and entry.
      density: p, the chance that an entry is kept, in (0, 1]. The paper drops 0.9 and
        more.

    Returns:
      Vectors like them.

    Raises:
      UserError: for a density out of range.

    Example:
      >>> found = dare({"w": jnp.ones((2, 500))}, jax.random.key(0), density=0.25)
      >>> sorted(set(found["w"].ravel().tolist()))
      [0.0, 4.0]

    References:
      Yu et al., Language Models are Super Mario: Absorbing Abilities from Homologous
      Models as a Free Lunch, 2023, arXiv 2311.03099.
    """
    expect(0 < density <= 1, "density", density, "in (0, 1]")
    leaves, tree = jax.tree.flatten(vectors)

    def one(i: int, leaf: Array) -> Array:
        mask = jax.random.bernoulli(jax.random.fold_in(key, i), density, leaf.shape)
        return jnp.where(mask, leaf / density, 0)

    return tree.unflatten([one(i, leaf) for i, leaf in enumerate(leaves)])
