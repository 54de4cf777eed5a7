"""How often the gradients of the tasks point against each other."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def conflict_share(cosines: Float[Array, "*batches K K"]) -> Float[Array, ""]:
    """The share of conflicting pairs: of all pairs of tasks, in all batches.

    A pair conflicts where its cosine is below 0. Pairs are counted in the batches
    where both tasks have a gradient.

    Args:
      cosines: as :func:`mtopt.linalg.cosines` returns them, for any number of batches.

    Returns:
      A number from 0 to 1, nan where there is no pair.

    Example:
      >>> conflicting, agreeing = jnp.array([[[1., -.5], [-.5, 1.]],
      ...                                    [[1., 0.5], [0.5, 1.]]])
      >>> float(conflict_share(jnp.stack([conflicting, agreeing, agreeing, agreeing])))
      0.25

    References:
      Phan et al., Beyond Losses Reweighting: Empowering Multi-Task Learning via the
      Generalization Perspective, 2022, arXiv 2211.13723.
    """
    has_gradient = jnp.diagonal(cosines, axis1=-2, axis2=-1) > 0
    both = has_gradient[..., :, None] & has_gradient[..., None, :]
    pairs = (
        both
        & jnp.triu(jnp.ones(cosines.shape[-2:], bool), 1)[(None,) * (cosines.ndim - 2)]
    )
    return jnp.sum(pairs & (cosines < 0)) / jnp.sum(pairs)
