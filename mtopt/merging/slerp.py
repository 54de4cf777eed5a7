"""Self Positioning: a direction between task vectors, and its length, learned."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.linalg import gramian
from mtopt.merging.arithmetic import added, count
from mtopt.merging.scaling import Scaling

STRAIGHT = 1e-3
"""The sine of an angle below which a great circle is a straight line."""


def between(
    here: Float[Array, " n"],
    there: Float[Array, " n"],
    share: Float[Array, ""],
    products: Float[Array, "n n"],
) -> Float[Array, " n"]:
    r"""The coefficients of the spherical interpolation of two sums of vectors.

    .. math:: \frac{\sin(s \alpha)}{\sin \alpha} u + \frac{\sin((1 - s) \alpha)}{\sin
       \alpha} v

    with :math:`\alpha` the angle between u and v, which are weighed as they are, their
    lengths among it. It is the straight line where :math:`\sin \alpha` is below
    :data:`STRAIGHT`, or one of them is 0.

    Args:
      here: the coefficients of u.
      there: those of v.
      share: s, in [0, 1]: 1 is u.
      products: the Gramian of the vectors.
    """
    lengths = (here @ products @ here) * (there @ products @ there)
    cosine = (here @ products @ there) / jnp.sqrt(jnp.maximum(lengths, 1e-30))
    straight = (1 - cosine**2 <= STRAIGHT**2) | (lengths <= 0)
    angle = jnp.arccos(jnp.where(straight, 0.0, cosine))
    ours, theirs = (
        jnp.where(straight, part, jnp.sin(part * angle) / jnp.sin(angle))
        for part in (share, 1 - share)
    )
    return ours * here + theirs * there


def _start(base: Any, vectors: Any) -> Any:
    del base
    return {"position": jnp.zeros(count(vectors)), "norm": jnp.ones(())}


def _known(base: Any, vectors: Any) -> Float[Array, "n n"]:
    del base
    return gramian(vectors)


def weights_of(position: Float[Array, " n"], products: Float[Array, "n n"]) -> Array:
    """The coefficients of the vectors at a position, ``[n]``.

    Args:
      position: the logarithm of a.
      products: the Gramian of the vectors.
    """
    each = jnp.eye(len(position), dtype=products.dtype)
    found, mean = each[0], position[0]  # by logarithms: far apart, a is 0 or infinite
    for k in range(1, len(position)):
        share = jax.nn.sigmoid(mean - position[k])
        found = between(found, each[k], share, products)
        mean = jnp.logaddexp(jnp.log(k) + mean, position[k]) - jnp.log(k + 1)
    return found


def _merge(coefficients: Any, base: Any, vectors: Any, known: Any) -> Any:
    weights = coefficients["norm"] * weights_of(coefficients["position"], known)
    return added(base, weights, vectors)


slerp = Scaling(_start, _merge, _known)
r"""A direction by spherical interpolation of one vector after another, and its length.

.. math::
   v_1 = \tau_1, \qquad v_k = \operatorname{slerp}(v_{k-1}, \tau_k;\,
   \bar a_{<k} : a_k), \qquad \theta = \theta_0 + \lambda v_n

with :math:`a_i = e^{p_i}`, of which only ratios count: n + 1 coefficients, ``position
[n]`` and ``norm``, which start in the middle, at length 1. All angles are from the
n x n Gramian of the vectors. From three vectors on it matters which comes first. Those
of unequal length are weighed as they are, as mergekit has it.

Li et al., Improving General Text Embedding Model: Tackling Task Conflict and Data
Imbalance through Model Merging, 2024, arXiv 2410.15035. There a is not kept above 0."""
