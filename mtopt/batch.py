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

    In place of True and False the mask may hold the weight of every label, floats of
    at least 0: a label of weight 2 counts as two, one of weight 0 is missing. A loss
    is then their weighted mean; see :func:`masked_mean`.

    Args:
      x: the inputs, any pytree.
      y: the labels, any pytree (an array in nearly every case).
      mask: True where a label is real, or its weight.
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
          mask: task name to bool ``[B]``, where labels are missing otherwise, or to
            their weights, finite numbers of at least 0 ``[B]``, of which a label that
            is NaN has none. Tasks it does not name are labelled wherever their label
            is not NaN.

        Raises:
          UserError: where the tasks' labels differ in shape, are no numbers, or NaN in
            a part of a sample's label; where a mask is of a task without labels, or
            holds a number below 0 or one that is not finite.

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
        masks = _masks(labels, mask or {})
        return Batch(x, _stack(labels.values()), _stack(masks.values()), names)

    @staticmethod
    def disjoint(
        samples: Mapping[str, tuple[Any, Any]], mask: Mapping[str, Any] | None = None
    ) -> "Batch":
        """Every task its own samples, in sub-batches of any size.

        Args:
          samples: task name to ``(x, y)``: inputs ``[b_k, ...]`` and labels
            ``[b_k, ...]``, arrays or pytrees of them. Shorter sub-batches are padded
            to the longest. Tracers may stand among them.
          mask: as of :meth:`shared`, ``[b_k]`` of a task.

        Raises:
          UserError: where inputs and labels of a task differ in length, are no
            numbers, or NaN in a part of a sample's label; for a mask as :meth:`shared`.

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
        masks = _masks({name: y for name, (_, y) in pairs.items()}, mask or {})
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
            jax.tree.map(lambda leaf: _pad(leaf, size), (x, y, masks[name]))
            for name, (x, y) in pairs.items()
        ]
        x, y, masked = _stack(padded)
        return Batch(x, y, masked, names)


def as_mask(name: str, values: Any) -> Any:
    """Which labels are real, as booleans, or as floats what each of them weighs.

    Args:
      name: what to call it in an error.
      values: booleans, or weights. Where these are 0 and 1 alone they are booleans; of
        a traced array nobody knows that yet.

    Raises:
      UserError: for a number below 0, or one that is not finite.

    Example:
      >>> as_mask("the mask", [0, 1]).tolist()
      [False, True]
      >>> as_mask("the mask", [0, 2]).tolist()
      [0.0, 2.0]
    """
    mask = as_numbers(name, values)
    if mask.dtype == bool:
        return mask
    if not is_traced(mask):
        known = np.asarray(mask)
        if np.isin(known, (0, 1)).all():
            return mask.astype(bool)
        good = np.isfinite(known) & np.isreal(known) & (np.real(known) >= 0)
        if not good.all():
            raise UserError(
                f"{name} holds {known[~good].ravel()[0].item()}: expected True where a "
                "label is real, or what each label weighs, finite numbers of at least 0"
            )
    return mask if jnp.issubdtype(mask.dtype, jnp.floating) else mask.astype("float32")


def is_real(mask: Any) -> Any:
    """Which labels are real: a mask as booleans, those of a weight above 0.

    Args:
      mask: booleans or weights, of NumPy or JAX.
    """
    return mask if mask.dtype == bool else mask > 0


def narrowed(mask: Any, among: Any) -> Any:
    """A mask whose labels are real among some places alone; weights stay weights.

    Args:
      mask: booleans or weights, of NumPy or JAX.
      among: True for these places, of a shape that broadcasts with the mask.
    """
    return mask & among if mask.dtype == bool else mask * among


def divisor(total: Array) -> Array:
    """A number of labels, or the sum of their weights, to divide by: 1 in place of 0.

    Args:
      total: at least 0.
    """
    if jnp.issubdtype(total.dtype, jnp.integer):
        return jnp.maximum(total, 1)
    return jnp.where(total > 0, total, 1)


def masked_mean(
    values: Float[Array, "..."], mask: Bool[Array, "..."] | Float[Array, "..."]
) -> Float[Array, ""]:
    r"""The mean over what is labelled, 0 where a task has no label.

    .. math:: \frac{\sum_b m_b v_b}{\sum_b m_b}

    with :math:`m_b` 0 or 1, or the weight of a label. This is the reduction every
    ``head_loss`` should end with: dividing by the batch size instead would shrink the
    loss of a task with few labels. Of tokens or pixels
    with a mask of their own, ``[b, t]``, each counts alike, whatever sample it is of;
    :class:`mtopt.micro_batches.MicroBatches` goes by samples unless ``label_mask`` of
    :class:`mtopt.Tasks` has that mask.

    Args:
      values: losses, ``[b, ...]``, where the first axes are those of the mask; further
        ones are averaged first.
      mask: True where a label is real, or its weight, ``[b]``, or of more axes. Values
        elsewhere, and those of weight 0, are never read.

    Raises:
      UserError: for a mask of other axes.

    Returns:
      A scalar, in float32 at least: of a long sum in float16, or of a small change in
      bfloat16, nothing would be left.

    Example:
      >>> float(masked_mean(jnp.array([1., 3., jnp.nan]),
      ...                   jnp.array([True, True, False])))
      2.0
      >>> float(masked_mean(jnp.array([1., 3., jnp.nan]), jnp.array([3., 1., 0.])))
      1.5
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
    labelled = jnp.where(is_real(mask), values.mean(axis=trailing), 0)
    if mask.dtype != bool:
        mask = mask.astype(labelled.dtype)
        labelled *= mask
    total = labelled.sum()
    return total / divisor(mask.sum()).astype(total.dtype)


def zero_masked(tree: Any, mask: Bool[Array, "K b"] | Float[Array, "K b"]) -> Any:
    """Zeros in every leaf ``[K, b, ...]`` where ``mask`` is False, or 0.

    A loss that masks its output alone still multiplies the gradient of a NaN by
    zero, which is NaN: the value has to go before the loss sees it.
    """

    def zero(leaf: Array) -> Array:
        seen = is_real(mask).reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
        return jnp.where(seen, leaf, jnp.zeros((), leaf.dtype))

    return jax.tree.map(zero, tree)


def loss_mask(
    mask: Bool[Array, "K b"] | Float[Array, "K b"],
) -> Bool[Array, "K b"] | Float[Array, "K b"]:
    """The mask for the losses, in which an absent task has one label, of value 0.

    A loss that divides by the count of its labels would be NaN for a task without any,
    and so would be its gradient behind any later mask; on a label of 0 it is finite.
    """
    first = mask[:, :1]
    absent = ~mask.any(axis=1, keepdims=True)
    first = first | absent if mask.dtype == bool else jnp.where(absent, 1, first)
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


def _masks(labels: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The mask of every task: the one that was given, or else from its labels."""
    for name in given:
        if name not in labels:
            raise UserError(f"a mask of task {name!r}: {nearest(name, list(labels))}")
    masks = {}
    for name, own in labels.items():
        if name not in given:
            masks[name] = _labelled(own, name)
            continue
        mask = as_mask(f"the mask of task {name!r}", given[name])
        weights = mask.dtype != bool
        masks[name] = narrowed(mask, _labelled(own, name)) if weights else mask
    return masks


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
