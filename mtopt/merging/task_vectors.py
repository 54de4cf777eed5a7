"""What tuning added to a base, a vector for each tuned model."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from mtopt.errors import UserError


def task_vectors(base: Any, tuned: Iterable[Any]) -> Any:
    r"""The differences of tuned parameters and those that they started from.

    .. math:: \tau_i = \theta_i - \theta_0

    Args:
      base: :math:`\theta_0`, a tree of floats.
      tuned: the n tuned ones, one or more, trees like it.

    Returns:
      A tree like it, with leaves ``[n, ...]``.

    Raises:
      UserError: for none, arrays that are no floats, or a tree of another structure or
        other shapes.

    Example:
      >>> vectors = task_vectors({"w": jnp.zeros(2)}, [{"w": jnp.ones(2)}] * 3)
      >>> vectors["w"].shape
      (3, 2)

    References:
      Ilharco et al., Editing Models with Task Arithmetic, 2022, arXiv 2212.04089.
    """
    models = list(tuned)
    if not models:
        raise UserError("tuned has no model: expected one or more")
    for path, leaf in jax.tree_util.tree_leaves_with_path(base):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise UserError(
                f"base{jax.tree_util.keystr(path)} is {jnp.result_type(leaf)}: "
                "expected a tree of floats; leave the rest out"
            )
    for i, own in enumerate(models):
        _expect_like(base, own, f"tuned[{i}]")
    return jax.tree.map(
        lambda start, *ends: jnp.stack([end - start for end in ends]), base, *models
    )


def expect_vectors(base: Any, vectors: Any) -> None:
    """Raises unless every array of the base has its vectors.

    Args:
      base: a tree.
      vectors: a tree like it, leaves ``[n, ...]``.

    Raises:
      UserError: naming what is there.
    """
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), vectors
    )
    _expect_like(base, first, "vectors")
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(vectors)}
    if len(counts) > 1 or () in counts:
        raise UserError(
            f"vectors have first axes of {sorted(counts)} entries: expected n in "
            "all, as of mtopt.merging.task_vectors"
        )


def _expect_like(base: Any, own: Any, what: str) -> None:
    """Raises unless a tree has the paths and shapes of the base."""
    expected, found = _shapes(base), _shapes(own)
    paths = [*expected, *(found.keys() - expected.keys())]
    other = next((p for p in paths if found.get(p) != expected.get(p)), None)
    if other is not None:
        raise UserError(
            f"{what}{other} is {found.get(other, 'not there')}: expected "
            f"{expected.get(other, 'nothing')}, as in the base"
        )
    if jax.tree.structure(own) != jax.tree.structure(base):
        raise UserError(
            f"{what} is of other containers than the base: expected "
            f"{jax.tree.structure(base)}"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Every path of a tree, and the shape of what is there."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in found}
