"""A batch of tasks: inputs, labels and which labels are real."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.arrays import as_numbers
from mtopt.errors import UserError, nearest
from mtopt.options import is_traced
from mtopt.per_task import check_names


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
      names: the sorted task names, which a step compares with those of its tasks when
        it is traced; None for arrays that were put in that order by hand. One tuple per
        group for :class:`mtopt.TaskGroups`.
    """

    x: Any
    y: Any
    mask: Any
    names: Any = dataclasses.field(default=None, metadata={"static": True})

    @staticmethod
    def shared(
        x: Any, y: Mapping[str, Any], mask: Mapping[str, Any] | None = None
    ) -> "Batch":
        """One input, one label array per task.

        Args:
          x: inputs, leaves ``[B, ...]``.
          y: task name to labels, an array ``[B, ...]`` or a pytree of such; NaN in a
            float label is a missing one. Tracers may stand among them.
          mask: task name to bool ``[B]``, where labels are missing otherwise. Tasks
            it does not name are labelled wherever their label is not NaN.

        Raises:
          UserError: where the tasks' labels differ in shape, are no numbers, or NaN in
            a part of a sample's label; where a mask is of a task without labels, or
            holds other numbers than 0 and 1.

        Example:
          >>> batch = Batch.shared(np.zeros((2, 3)), {"b": np.array([1., np.nan]),
          ...                                         "a": np.array([0., 1.])})
          >>> batch.names, batch.mask.tolist()
          (('a', 'b'), [[True, True], [True, False]])
        """
        names = tuple(sorted(y))
        check_names(names)
        labels = {name: _numbers(y[name], f"labels of task {name!r}") for name in names}
        first = _shapes(labels[names[0]])
        for name, own in labels.items():
            if _shapes(own) != first:
                raise UserError(
                    f"labels of task {name!r} have shape {_shapes(own)}, those of "
                    f"{names[0]!r} {first}: shared inputs need one label per sample "
                    "and task (mask the missing ones)"
                )
        for name in mask or {}:
            if name not in labels:
                raise UserError(f"a mask of task {name!r}: {nearest(name, names)}")
        masks = [
            as_mask(f"the mask of task {name!r}", mask[name])
            if mask and name in mask
            else _labelled(own, name)
            for name, own in labels.items()
        ]
        return Batch(x, _stack(labels.values()), _stack(masks), names)

    @staticmethod
    def disjoint(samples: Mapping[str, tuple[Any, Any]]) -> "Batch":
        """Every task its own samples, in sub-batches of any size.

        Args:
          samples: task name to ``(x, y)``: inputs ``[b_k, ...]`` and labels
            ``[b_k, ...]``, arrays or pytrees of them. Shorter sub-batches are padded
            to the longest. Tracers may stand among them.

        Raises:
          UserError: where inputs and labels of a task differ in length, are no
            numbers, or NaN in a part of a sample's label.

        Example:
          >>> batch = Batch.disjoint({"a": (np.ones((3, 2)), np.ones(3)),
          ...                         "b": (np.ones((1, 2)), np.ones(1))})
          >>> batch.x.shape, batch.mask.sum(1).tolist()
          ((2, 3, 2), [3, 1])
        """
        names = tuple(sorted(samples))
        check_names(names)
        pairs = {
            name: (
                _numbers(samples[name][0], f"inputs of task {name!r}"),
                _numbers(samples[name][1], f"labels of task {name!r}"),
            )
            for name in names
        }
        for name, pair in pairs.items():
            lengths = {len(leaf) for leaf in jax.tree.leaves(pair)}
            if len(lengths) > 1:
                x, y = (len(jax.tree.leaves(tree)[0]) for tree in pair)
                raise UserError(
                    f"task {name!r} has {x} inputs and {y} labels: expected one label "
                    "per input"
                )
        size = max(len(jax.tree.leaves(y)[0]) for _, y in pairs.values())
        padded = [
            jax.tree.map(lambda leaf: _pad(leaf, size), (x, y, _labelled(y, name)))
            for name, (x, y) in pairs.items()
        ]
        x, y, mask = _stack(padded)
        return Batch(x, y, mask, names)


def as_mask(name: str, values: Any) -> Any:
    """A mask as booleans: what tells which labels are real, and weighs none of them.

    Args:
      name: what to call it in an error.
      values: booleans, or 0 and 1.

    Raises:
      UserError: for other numbers, which would all become True; in a traced array, for
        numbers that are no booleans.

    Example:
      >>> as_mask("the mask", [0, 1]).tolist()
      [False, True]
    """
    mask = as_numbers(name, values)
    if mask.dtype == bool:
        return mask
    known = None if is_traced(mask) else np.asarray(mask)
    if known is None or not np.isin(known, (0, 1)).all():
        found = f"{mask.dtype} tracers" if known is None else repr(_odd(known))
        raise UserError(
            f"{name} holds {found}: expected booleans, True where a label is real; "
            "weights of samples belong to the labels, as y={'value': ..., 'weight': "
            "...}, where the loss reads them"
        )
    return mask.astype(bool)


def _odd(values: np.ndarray) -> Any:
    """The first number that is neither 0 nor 1."""
    return values[~np.isin(values, (0, 1))].ravel()[0].item()


def masked_mean(
    values: Float[Array, "..."], mask: Bool[Array, "..."]
) -> Float[Array, ""]:
    r"""The mean over what is labelled, 0 where a task has no label.

    .. math:: \frac{\sum_b m_b v_b}{\max(\sum_b m_b, 1)}

    This is the reduction every ``head_loss`` should end with: dividing by the batch
    size instead would shrink the loss of a task with few labels. Of tokens or pixels
    with a mask of their own, ``[b, t]``, each counts alike, whatever sample it is of;
    the parts of :class:`mtopt.micro_batches.MicroBatches` are averaged by samples.

    Args:
      values: losses, ``[b, ...]``, where the first axes are those of the mask; further
        ones are averaged first.
      mask: True where a label is real, ``[b]``, or of more axes. Values elsewhere are
        never read.

    Raises:
      UserError: for a mask of other axes.

    Returns:
      A scalar, in float32 at least: of a long sum in float16, or of a small change in
      bfloat16, nothing would be left.

    Example:
      >>> float(masked_mean(jnp.array([1., 3., jnp.nan]),
      ...                   jnp.array([True, True, False])))
      2.0
      >>> tokens = jnp.array([[1., 2., 9.], [6., 9., 9.]])
      >>> float(masked_mean(tokens, tokens < 9))
      3.0
    """
    if values.shape[: mask.ndim] != mask.shape or mask.ndim == 0:
        raise UserError(
            f"losses of shape {values.shape} under a mask of shape {mask.shape}: "
            "expected the axes of the mask first"
        )
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    trailing = tuple(range(mask.ndim, values.ndim))
    total = jnp.where(mask, values.mean(axis=trailing), 0).sum()
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


def _numbers(tree: Any, what: str) -> Any:
    """Arrays of numbers in place of what can be read as such."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: as_numbers(what + jax.tree_util.keystr(path), leaf),
        tree,
        is_leaf=lambda node: isinstance(node, list),
    )


def _shapes(tree: Any) -> Any:
    """The shape of an array, or those of a tree's leaves."""
    leaves = jax.tree.leaves(tree)
    if len(leaves) == 1:
        return jnp.shape(leaves[0])
    return tuple(map(jnp.shape, leaves))


def _stack(trees: Iterable[Any]) -> Any:
    """Stacks trees on a new first axis: with numpy, unless one is on a device."""

    def stack(*leaves: Any) -> Any:
        traced = any(isinstance(leaf, jax.Array) for leaf in leaves)
        return (jnp if traced else np).stack(leaves)

    return jax.tree.map(stack, *trees)


def _labelled(tree: Any, name: str) -> Any:
    """True where no float of a sample's label is NaN, ``[b]``.

    Raises:
      UserError: for samples with some numbers and some NaN, whose numbers would else
        go unused.
    """
    leaves = jax.tree.leaves(tree)
    whole = np.ones(len(leaves[0]), bool)
    some = np.zeros(len(leaves[0]), bool)
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            known = ~(leaf != leaf)  # NaN alone, in any array library
            axes = tuple(range(1, leaf.ndim))
            whole, some = whole & known.all(axis=axes), some | known.any(axis=axes)
        else:
            some = np.ones_like(whole)
    parts = some & ~whole
    if not is_traced(parts) and parts.any():
        raise UserError(
            f"labels of task {name!r} lack some of their numbers in {int(parts.sum())} "
            f"of {len(parts)} samples: expected all of a sample or none; make a task "
            "of each number, or hand on a tree such as {'value': "
            "numpy.nan_to_num(y), 'known': ~numpy.isnan(y)} to a loss that leaves out "
            "the unknown ones"
        )
    return whole


def _pad(array: Any, size: int) -> Any:
    widths = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return (jnp if isinstance(array, jax.Array) else np).pad(array, widths)
