"""The axis of the samples in an array: its mean, its parts, and the parts joined."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.batch import Batch
from mtopt.errors import UserError


def mean_of(leaf: Array, mask: Bool[Array, " b"] | Float[Array, " b"]) -> Array:
    """An array in which every sample is the mean of those that have a task's label.

    Args:
      leaf: ``[b, ...]``.
      mask: which samples have one, or its weight; at least one of them.
    """
    mask = mask.reshape(-1, *(1,) * (leaf.ndim - 1))
    if mask.dtype == bool:
        mean = jnp.mean(leaf, axis=0, keepdims=True, where=mask)
    else:
        share = (mask / mask.sum()).astype(leaf.dtype)
        mean = jnp.sum(jnp.where(mask > 0, leaf, 0) * share, axis=0, keepdims=True)
    return jnp.broadcast_to(mean, leaf.shape)


def cut(leaf: Array, count: int, axis: int) -> Array:
    """Samples on an axis, dealt in turn to ``count`` parts on a new first axis.

    Args:
      leaf: whose axis has a multiple of ``count`` samples.
      count: of the parts.
      axis: of the samples.
    """
    shape = leaf.shape
    dealt = leaf.reshape(*shape[:axis], shape[axis] // count, count, *shape[axis + 1 :])
    return jnp.moveaxis(dealt, axis + 1, 0)


def cut_tree(tree: Any, count: int, axis: int) -> Any:
    """Every array of a tree as :func:`cut` makes it.

    Args:
      tree: of arrays.
      count: of the parts.
      axis: of the samples, in each.
    """
    return jax.tree.map(lambda leaf: cut(leaf, count, axis), tree)


def cut_batch(batch: Batch, count: int, x_axis: int | None) -> Batch:
    """A batch of one group of tasks in parts, leaves ``[M, ...]``.

    Args:
      batch: what is cut.
      count: M.
      x_axis: of the tasks.

    Raises:
      UserError: unless M divides the number of samples.
    """
    size = batch.mask.shape[1]
    if count < 1 or size % count:
        raise UserError(
            f"a batch of {size} samples in {count} micro-batches: expected a number "
            "that divides it"
        )
    return Batch(
        cut_tree(batch.x, count, 0 if x_axis is None else 1),
        cut_tree(batch.y, count, 1),
        cut(batch.mask, count, 1),
        batch.names,
    )


def join(leaf: Array, axis: int) -> Array:
    """The inverse of :func:`cut`.

    Args:
      leaf: the parts, on a first axis.
      axis: of the samples, in what is returned.
    """
    dealt = jnp.moveaxis(leaf, 0, axis + 1)
    shape = dealt.shape
    return dealt.reshape(*shape[:axis], -1, *shape[axis + 2 :])
