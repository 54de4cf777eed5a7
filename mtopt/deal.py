"""A batch dealt into parts, so that every task has its share of labels in each."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mtopt.batch import Batch, narrowed, zero_masked
from mtopt.errors import UserError


def check_parts(size: int, parts: int) -> None:
    """Raises unless a batch has a sample for every part.

    Args:
      size: B.
      parts: P.

    Raises:
      UserError: with both numbers.
    """
    if not 1 <= parts <= size:
        raise UserError(
            f"a batch of {size} samples cannot be split into {parts} parts: raise the "
            "batch size"
        )


def deal(
    mask: Bool[Array, "K B"], key: Any, parts: int
) -> tuple[Int[Array, "P s"], Bool[Array, "P K s"]]:
    """Deals samples that tasks have in common into parts, at random.

    Samples are shuffled and dealt in turn, those of the rarest task first, then the
    others of the next, so that the labels of each are spread over the parts in whatever
    pattern they came. No sample is in two parts, which are thus independent; the
    exception is a task that would have no label in a part. A place for each task at the
    end of every part then repeats one of its samples, for this task alone.

    A sample without any label changes nothing, wherever it stands behind the others.

    Args:
      mask: which labels are real.
      key: of the shuffle.
      parts: P, at most B.

    Returns:
      The samples in each part, of size ``s = ceil(B / P) + K``, and which of their
      labels are real there.

    Example:
      >>> mask = jnp.array([[True] * 4, [True, False, False, False]])
      >>> samples, real = jax.jit(deal, static_argnums=2)(mask, jax.random.key(0), 2)
      >>> real.sum(axis=2).tolist()
      [[2, 1], [2, 1]]
    """
    num_tasks, size = mask.shape
    counts = mask.sum(axis=1)
    # Of every sample alone, so that padding does not change the others' draw. Tasks
    # with as many labels go by the first draw of a sample of theirs, not by their name.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
    draws = jax.vmap(lambda own: jax.random.uniform(own, (), jnp.float32))(keys)
    first = jnp.min(jnp.where(mask, draws[None], 1), axis=1)
    fewer = counts[None] < counts[:, None]
    tied = counts[None] == counts[:, None]
    rank = jnp.sum(fewer | (tied & (first[None] < first[:, None])), axis=1)
    rarest = jnp.min(jnp.where(mask, rank[:, None], num_tasks), axis=0)
    order = jnp.lexsort((draws, rarest))

    turns = -(-size // parts)
    place = jnp.arange(turns * parts).reshape(turns, parts).T
    dealt = order[jnp.minimum(place, size - 1)]
    real = jnp.moveaxis(mask[:, dealt], 0, 1) & (place < size)[:, None]

    # The first labelled samples of each task in that order, another one in each part.
    turn = jnp.arange(parts)[:, None] % jnp.maximum(counts, 1)[None]
    seen = jnp.cumsum(mask[:, order], axis=1)[None]
    again = order[jnp.argmax(seen > turn[:, :, None], axis=2)]
    lacking = (counts > 0)[None] & ~real.any(axis=2)
    repeated = lacking[:, :, None] & jnp.eye(num_tasks, dtype=bool)[None]
    samples = jnp.concatenate([dealt, again], axis=1)
    return samples, jnp.concatenate([real, repeated], axis=2)


def dealt_batch(
    batch: Batch,
    x_axis: int | None,
    samples: Int[Array, "*K s"],
    real: Bool[Array, "K s"],
) -> Batch:
    """A part of a batch, as :func:`deal` says.

    Args:
      batch: of K tasks.
      x_axis: None for shared inputs, 0 for disjoint ones.
      samples: the places of its samples, of each task for disjoint inputs.
      real: which of their labels it has.
    """

    def take(leaf: Any, axis: int | None) -> Any:
        if x_axis is None:
            return jnp.take(leaf, samples, axis=0 if axis is None else 1)
        return jax.vmap(lambda own, index: own[index])(leaf, samples)

    labels = jax.tree.map(lambda leaf: take(leaf, 0), batch.y)
    inputs = jax.tree.map(lambda leaf: take(leaf, x_axis), batch.x)
    mask = real
    if batch.mask.dtype != bool:
        mask = narrowed(take(batch.mask, 0), real)
    return Batch(inputs, zero_masked(labels, mask), mask, batch.names)
