"""Gradients dealt to several devices by columns, where a step runs on several.

What methods make of the gradients of K tasks goes column by column, or adds up over
columns: sorts, sums, inner products. A device with all K rows of its share of the
columns makes that alone, and K x K numbers are all that crosses for an inner product.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array


def devices_of_trace() -> tuple[tuple[str, ...], int]:
    """The axes of the mesh that is being traced for, and how many devices it has.

    No axes and 1 outside of :class:`mtopt.Devices`, and on one device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or any(kind != AxisType.Auto for kind in mesh.axis_types):
        return (), 1
    return (mesh.axis_names, mesh.size) if mesh.size > 1 else ((), 1)


def column_axis(shape: Sequence[int], parts: int) -> int | None:
    """The first axis that can be cut into equal parts; None if none can.

    Args:
      shape: of a parameter.
      parts: their number.

    Example:
      >>> column_axis((3, 3, 8, 16), 4)
      2
    """
    equal = (a for a, size in enumerate(shape) if size and size % parts == 0)
    return next(equal, None)


def by_columns(rows: Any) -> Any:
    """Rows with their columns on all devices; those that can't be cut, anywhere.

    Args:
      rows: leaves ``[K, ...]``.
    """
    count = devices_of_trace()[1]

    def one(leaf: Array) -> Array:
        axis = column_axis(leaf.shape[1:], count)
        return leaf if axis is None else along(axis + 1, leaf)

    return jax.tree.map(one, rows)


def along(axis: int, array: Array) -> Array:
    """An array with one axis dealt to all devices, where that gives equal parts.

    Args:
      axis: which.
      array: any.
    """
    axes, count = devices_of_trace()
    if not axes or array.shape[axis] % count:
        return array
    spec = PartitionSpec(*(None,) * axis, axes)
    return jax.lax.with_sharding_constraint(array, spec)


def sum_over_columns(function: Callable[..., Array], *rows: Array) -> Array:
    """A sum over columns, of which every device adds up its own.

    Args:
      function: of arrays like ``rows`` with some of their columns, to a sum over these;
        columns of zeros add nothing.
      rows: ``[K, ...]``, equal but for K.
    """
    axes, count = devices_of_trace()
    if not axes:
        return function(*rows)
    axis = column_axis(rows[0].shape[1:], count)
    if axis is None:
        rows = tuple(each.reshape(len(each), -1) for each in rows)
        axis = 0
    return sum_over_axis(function, axis + 1, *rows)


def sum_over_axis(function: Callable[..., Array], axis: int, *arrays: Array) -> Array:
    """As :func:`sum_over_columns`, along one axis of any length.

    Args:
      function: of arrays with a part of the axis.
      axis: of each.
      arrays: of one length there.
    """
    axes, count = devices_of_trace()
    if not axes:
        return function(*arrays)
    axis %= arrays[0].ndim
    missing = -arrays[0].shape[axis] % count
    if missing:
        widths = [[(0, missing * (a == axis)) for a in range(x.ndim)] for x in arrays]
        arrays = tuple(map(jnp.pad, arrays, widths))
    spec = PartitionSpec(*(None,) * axis, axes)
    local = jax.shard_map(
        lambda *parts: jax.lax.psum(function(*parts), axes),
        in_specs=(spec,) * len(arrays),
        out_specs=PartitionSpec(),
    )
    return local(*arrays)
