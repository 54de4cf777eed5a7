"""Coefficients of task vectors that are learned: one a vector, or one a block of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtopt.linalg import combine
from mtopt.merging.arithmetic import added, changed, count


class Scaling(NamedTuple):
    """How coefficients make a model of a base and task vectors.

    Attributes:
      start: ``(base, vectors) -> coefficients``, a tree.
      merge: ``(coefficients, base, vectors, known) -> parameters`` like the base.
      known: ``(base, vectors) -> tree``: what does not depend on coefficients, worked
        out once.
    """

    start: Callable[[Any, Any], Any]
    merge: Callable[[Any, Any, Any, Any], Any]
    known: Callable[[Any, Any], Any] = lambda base, vectors: None


def _zeros(base: Any, vectors: Any) -> Any:
    del base
    return jnp.zeros(count(vectors))


def _each(base: Any, vectors: Any) -> Any:
    n = count(vectors)
    return jax.tree.map(lambda _: jnp.zeros(n), base)


def _blocks(coefficients: Any, base: Any, vectors: Any, known: Any) -> Any:
    del known
    return changed(base, jax.tree.map(combine, coefficients, vectors))


def _sum(coefficients: Any, base: Any, vectors: Any, known: Any) -> Any:
    del known
    return added(base, coefficients, vectors)


isotropic = Scaling(_zeros, _sum)
r"""A coefficient for each vector.

.. math:: \theta = \theta_0 + \sum_i \lambda_i \tau_i

They start from 0, the base, and are ``[n]``."""

blockwise = Scaling(_each, _blocks)
r"""A coefficient for each vector and array (aTLAS).

.. math:: \theta^j = \theta_0^j + \sum_i \Lambda_{ij} \tau_i^j

They start from 0, the base, as in the paper: a tree like it, leaves ``[n]``.

Zhang et al., Knowledge Composition using Task Vectors with Learned Anisotropic Scaling,
2024, arXiv 2407.02880. The released code can also divide arrays at random into classes
with coefficients of their own."""
