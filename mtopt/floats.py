"""Trees taken apart into what can be differentiated, and what cannot."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mtopt.beside import Beside


def only_floats(tree: Any) -> Any:
    """The tree with None in place of all that is not differentiated.

    These are arrays of integers, booleans or keys, and what is :class:`mtopt.Beside`.
    """
    return _map(lambda leaf: leaf if _is_float(leaf) else None, tree)


def without_floats(tree: Any) -> Any:
    """The tree with None in place of every array of floats that is differentiated."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, Beside):
            return jax.tree.map(jax.lax.stop_gradient, leaf)
        return None if _is_float(leaf) else leaf

    return _map(one, tree)


def bare(tree: Any) -> Any:
    """The tree as heads get it, with what is :class:`mtopt.Beside` in its place."""
    return _map(lambda leaf: leaf.value if isinstance(leaf, Beside) else leaf, tree)


def map_floats(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with a function of each array of floats in its place, beside or not."""
    return jax.tree.map(lambda leaf: function(leaf) if _is_float(leaf) else leaf, tree)


def merge(floats: Any, others: Any) -> Any:
    """The tree that :func:`only_floats` and :func:`without_floats` took apart, bare.

    Args:
      floats: the one part.
      others: the other, or None where there is none.
    """
    if others is None or not jax.tree.leaves(others):
        return floats
    return filled(floats, bare(others))


def filled(tree: Any, others: Any) -> Any:
    """The tree with what others have where it has None.

    Args:
      tree: with gaps.
      others: a tree like it, or None where there is none.
    """
    if others is None:
        return tree
    return jax.tree.map(
        lambda own, other: other if own is None else own,
        tree,
        others,
        is_leaf=lambda node: node is None,
    )


def has_gaps(tree: Any) -> bool:
    """Whether something stands as None in the tree."""
    return any(
        leaf is None for leaf in jax.tree.leaves(tree, is_leaf=lambda n: n is None)
    )


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    return jax.tree.map(function, tree, is_leaf=lambda node: isinstance(node, Beside))


def _is_float(leaf: Any) -> bool:
    return not isinstance(leaf, Beside) and jnp.issubdtype(
        jnp.result_type(leaf), jnp.inexact
    )
