"""Representation decorrelation: views that agree, in features that do not repeat."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.data.graphs import Graph, Sampler, whole
from mtopt.errors import expect
from mtopt.models.gcn import Encoder
from mtopt.pretext.pretext import Pretext
from mtopt.pretext.two_views import TwoViews


def decorrelation(
    encoder: Encoder,
    *,
    sample: Sampler = whole,
    dropped_edges: float | int = 0.2,
    masked_columns: float | int = 0.2,
    strength: float | int = 1e-3,
    epsilon: float | int = 1e-5,
    columns: str = "independent",
) -> Pretext:
    r"""RepDecor: two views agree, and their features are uncorrelated.

    With z a view's representation, each column standardised over the n nodes (with the
    unbiased variance),

    .. math::
       L = \Big\|\frac{z_1 - z_2}{n}\Big\|_F + \lambda \sum_{k=1}^{2}
           \Big\|I - \frac{z_k^\top z_k}{n}\Big\|_F

    The norms are not squared, as released; CCA-SSG squares them.

    Args:
      encoder: what is trained. There is no head.
      sample: the part of the graph that a step sees;
        :func:`mtopt.data.graphs.saint` on a large one.
      dropped_edges: the probability of an edge to be left out of a view, in [0, 1).
      masked_columns: of a feature column to be zero in a view, in [0, 1).
      strength: lambda, at least 0.
      epsilon: added to each variance, at least 0. The released code adds none, and
        loses the run where a column of h is constant.
      columns: whose columns are masked, ``"independent"`` or ``"union"`` as released;
        see :class:`mtopt.pretext.two_views.TwoViews`.

    Raises:
      UserError: for an option out of range.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016; after Zhang et al., From Canonical
      Correlation Analysis to Self-supervised Graph Neural Networks, 2021,
      arXiv 2106.12484.
    """
    views = TwoViews(sample, dropped_edges, masked_columns, columns)
    expect(strength >= 0, "strength", strength, "a number of at least 0")
    expect(epsilon >= 0, "epsilon", epsilon, "a number of at least 0")

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        del key
        return {}

    def encode(shared: Any, graph: Graph, key: PRNGKeyArray) -> dict[str, Any]:
        return views.encode(encoder, shared, graph, key)

    def loss(head: Any, representation: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        del head, key
        real = representation["real"]
        first = standardised(representation["first"], real, epsilon)
        second = standardised(representation["second"], real, epsilon)
        return disagreement(first, second, real, strength)

    return Pretext(init, encode, loss)


def standardised(
    h: Float[Array, "N D"], real: Bool[Array, " N"], epsilon: float | int
) -> Float[Array, "N D"]:
    """Columns of mean 0 and unbiased variance 1 over the real nodes, 0 elsewhere."""
    count = real.sum()
    seen = real[:, None]
    mean = jnp.where(seen, h, 0).sum(axis=0, keepdims=True) / jnp.maximum(count, 1)
    centred = jnp.where(seen, h - mean, 0)
    variance = (centred**2).sum(axis=0, keepdims=True) / jnp.maximum(count - 1, 1)
    return centred * jax.lax.rsqrt(variance + epsilon)


def disagreement(
    first: Float[Array, "N D"],
    second: Float[Array, "N D"],
    real: Bool[Array, " N"],
    strength: float | int,
) -> Float[Array, ""]:
    """The loss of :func:`decorrelation`, on standardised views.

    Args:
      first: z_1, zero for padding.
      second: z_2, likewise.
      real: False for padding.
      strength: lambda.

    Example:
      >>> z = jnp.array([[1., 1.], [1., -1.], [-1., 1.], [-1., -1.]])
      >>> float(disagreement(z, z, jnp.ones(4, bool), 1e-3))
      0.0
    """
    count = jnp.maximum(real.sum(), 1)
    identity = jnp.eye(first.shape[1], dtype=first.dtype)
    correlation = [_frobenius(identity - z.T @ z / count) for z in (first, second)]
    return _frobenius((first - second) / count) + strength * sum(correlation)


def _frobenius(x: Float[Array, "a b"]) -> Float[Array, ""]:
    """The norm of a matrix, whose gradient at zero is zero."""
    square = (x**2).sum()
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
