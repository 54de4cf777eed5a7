"""What tuning added to a base, a vector for each tuned model."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mtopt.errors import UserError


def task_vectors(base: Any, tuned: Sequence[Any]) -> Any:
    r"""The differences of tuned parameters and those that they started from.

    .. math:: \tau_i = \theta_i - \theta_0

    Args:
      base: :math:`\theta_0`, a tree of floats.
      tuned: the n tuned ones, trees like it.

    Returns:
      A tree like it, with leaves ``[n, ...]``.

    Raises:
      UserError: for none, or a tree of another structure or other shapes.

    Example:
      >>> vectors = task_vectors({"w": jnp.zeros(2)}, [{"w": jnp.ones(2)}] * 3)
      >>> vectors["w"].shape
      (3, 2)

    References:
      Ilharco et al., Editing Models with Task Arithmetic, 2022, arXiv 2212.04089.
    """
    if not tuned:
        raise UserError("tuned has no model: expected one or more")
    expected = _shapes(base)
    for i, own in enumerate(tuned):
        found = _shapes(own)
        other = next(
            (path for path in expected if found.get(path) != expected[path]), None
        )
        other = other or next(iter(found.keys() - expected.keys()), None)
        if other is not None:
            raise UserError(
                f"tuned[{i}]{other} is {found.get(other, 'not there')}: expected "
                f"{expected.get(other, 'nothing')}, as in the base"
            )
    return jax.tree.map(
        lambda start, *ends: jnp.stack([end - start for end in ends]), base, *tuned
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Every path of a tree, and the shape of what is there."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in found}
