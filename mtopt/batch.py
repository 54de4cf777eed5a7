"""A batch of tasks: inputs, labels and which labels are real."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Inputs, labels and mask of K tasks, on shared samples or on disjoint ones.

    ======== ============================= =============================
    field    shared inputs                 disjoint inputs
    ======== ============================= =============================
    ``x``    leaves ``[B, ...]``           leaves ``[K, b, ...]``
    ``y``    leaves ``[K, B, ...]``        leaves ``[K, b, ...]``
    ``mask`` bool ``[K, B]``               bool ``[K, b]``
    ======== ============================= =============================

    Axis K is the sorted task names. A missing label, and the padding of a task
    whose sub-batch is shorter than the longest one, is ``mask == False``: what
    stands behind it, NaN included, never reaches a loss or a gradient.

    Args:
      x: the inputs, any pytree.
      y: the labels, any pytree (an array in nearly every case).
      mask: True where a label is real.
    """

    x: Any
    y: Any
    mask: Any

    @staticmethod
    def shared(
        x: Any, y: Mapping[str, Any], mask: Mapping[str, Any] | None = None
    ) -> "Batch":
        """One input, one label array per task.

        Args:
          x: inputs, leaves ``[B, ...]``.
          y: task name to labels ``[B, ...]``; NaN in a float label is a missing one.
          mask: task name to bool ``[B]``, where labels are missing otherwise. Tasks
            it does not name are labelled wherever their label is not NaN.

        Raises:
          UserError: where the tasks' labels differ in shape.

        Example:
          >>> batch = Batch.shared(np.zeros((2, 3)), {"b": np.array([1., np.nan]),
          ...                                         "a": np.array([0., 1.])})
          >>> batch.mask.tolist()
          [[True, True], [True, False]]
        """
        names = sorted(y)
        labels = [np.asarray(y[name]) for name in names]
        for name, label in zip(names, labels, strict=True):
            if label.shape != labels[0].shape:
                raise UserError(
                    f"labels of task {name!r} have shape {label.shape}, those of "
                    f"{names[0]!r} {labels[0].shape}: shared inputs need one label "
                    "per sample and task (mask the missing ones)"
                )
        masks = [
            np.asarray(mask[name], bool) if mask and name in mask else _labelled(label)
            for name, label in zip(names, labels, strict=True)
        ]
        return Batch(x, np.stack(labels), np.stack(masks))

    @staticmethod
    def disjoint(samples: Mapping[str, tuple[Any, Any]]) -> "Batch":
        """Every task its own samples, in sub-batches of any size.

        Args:
          samples: task name to ``(x, y)``: an array of inputs ``[b_k, ...]`` and its
            labels ``[b_k, ...]``. Shorter sub-batches are padded to the longest.

        Raises:
          UserError: where inputs and labels of a task differ in length.

        Example:
          >>> batch = Batch.disjoint({"a": (np.ones((3, 2)), np.ones(3)),
          ...                         "b": (np.ones((1, 2)), np.ones(1))})
          >>> batch.x.shape, batch.mask.sum(1).tolist()
          ((2, 3, 2), [3, 1])
        """
        names = sorted(samples)
        pairs = [tuple(np.asarray(a) for a in samples[name]) for name in names]
        for name, (x, y) in zip(names, pairs, strict=True):
            if len(x) != len(y):
                raise UserError(
                    f"task {name!r} has {len(x)} inputs and {len(y)} labels: expected "
                    "one label per input"
                )
        size = max(len(y) for _, y in pairs)
        return Batch(
            np.stack([_pad(x, size) for x, _ in pairs]),
            np.stack([_pad(y, size) for _, y in pairs]),
            np.stack([_pad(_labelled(y), size) for _, y in pairs]),
        )


def masked_mean(
    values: Float[Array, "b ..."], mask: Bool[Array, " b"]
) -> Float[Array, ""]:
    r"""The mean over labelled samples, 0 where a task has none.

    .. math:: \frac{\sum_b m_b v_b}{\max(\sum_b m_b, 1)}

    This is the reduction every ``head_loss`` should end with: dividing by the batch
    size instead would shrink the loss of a task with few labels.

    Args:
      values: per-sample losses; further axes are averaged first.
      mask: True where a label is real. Values elsewhere are never read.

    Returns:
      A scalar.

    Example:
      >>> float(masked_mean(jnp.array([1., 3., jnp.nan]),
      ...                   jnp.array([True, True, False])))
      2.0
    """
    per_sample = values.reshape(values.shape[0], -1).mean(axis=1)
    total = jnp.where(mask, per_sample, 0).sum()
    return total / jnp.maximum(mask.sum(), 1).astype(total.dtype)


def zero_masked(tree: Any, mask: Bool[Array, "K b"]) -> Any:
    """Zeros in every leaf ``[K, b, ...]`` where ``mask`` is False.

    A loss that masks its output alone still multiplies the gradient of a NaN by
    zero, which is NaN: the value has to go before the loss sees it.
    """

    def zero(leaf: Array) -> Array:
        seen = mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
        return jnp.where(seen, leaf, jnp.zeros((), leaf.dtype))

    return jax.tree.map(zero, tree)


def loss_mask(mask: Bool[Array, "K b"]) -> Bool[Array, "K b"]:
    """The mask for the losses, in which an absent task has one label, of value 0.

    A loss that divides by the count of its labels would be NaN for a task without any,
    and so would be its gradient behind any later mask; on a label of 0 it is finite.
    """
    first = mask[:, :1] | ~mask.any(axis=1, keepdims=True)
    return jnp.concatenate([first, mask[:, 1:]], axis=1)


def fill_padding(tree: Any, mask: Bool[Array, "K b"]) -> Any:
    """Fills the padding of every leaf ``[K, b, ...]`` with the task's real samples.

    They take turns, in order. Zeros there would enter BatchNorm's statistics; so would
    garbage, and from there every real sample. A task without any sample is all zeros.
    """
    size = mask.shape[1]
    real_first = jnp.argsort(~mask, axis=1, stable=True)
    turn = jnp.arange(size)[None] % jnp.maximum(mask.sum(axis=1), 1)[:, None]
    index = jnp.where(
        mask, jnp.arange(size)[None], jnp.take_along_axis(real_first, turn, axis=1)
    )
    filled = jax.tree.map(
        lambda leaf: jax.vmap(jnp.take, (0, 0, None))(leaf, index, 0), tree
    )
    present = jnp.broadcast_to(mask.any(axis=1, keepdims=True), mask.shape)
    return zero_masked(filled, present)


def _labelled(y: np.ndarray) -> np.ndarray:
    if not np.issubdtype(y.dtype, np.floating):
        return np.ones(len(y), bool)
    return np.asarray(~np.isnan(y).any(axis=tuple(range(1, y.ndim))))


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    widths = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths)
