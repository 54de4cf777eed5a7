"""Trees taken apart into what can be differentiated, and what cannot."""

from typing import Any

import jax
import jax.numpy as jnp


def only_floats(tree: Any) -> Any:
    """The tree with None in place of every array of integers, booleans or keys."""
    return jax.tree.map(lambda leaf: leaf if _is_float(leaf) else None, tree)


def without_floats(tree: Any) -> Any:
    """The tree with None in place of every array of floats."""
    return jax.tree.map(lambda leaf: None if _is_float(leaf) else leaf, tree)


def merge(floats: Any, others: Any) -> Any:
    """The tree that :func:`only_floats` and :func:`without_floats` took apart.

    Args:
      floats: the one part.
      others: the other, or None where there is none.
    """
    if others is None or not jax.tree.leaves(others):
        return floats
    return jax.tree.map(
        lambda own, other: other if own is None else own,
        floats,
        others,
        is_leaf=lambda node: node is None,
    )


def has_gaps(tree: Any) -> bool:
    """Whether something stands as None in the tree."""
    return any(
        leaf is None for leaf in jax.tree.leaves(tree, is_leaf=lambda n: n is None)
    )


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
