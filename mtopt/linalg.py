"""Inner products and sums of per-task gradients, leaf by leaf."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.among_tasks import FEW, LONG, weighted_sum
from mtopt.columns import sum_over_columns
from mtopt.long_products import flat_products
from mtopt.options import Number


def gramian(rows: Any) -> Float[Array, "K K"]:
    """All inner products of the K task gradients, ``G[i, j] = <g_i, g_j>``.

    Summed leaf by leaf, without a flattened copy of the parameters, and accumulated
    in float32 at full precision (a bfloat16 sum of 100,000 ones gives 99,840;
    float64 rows stay in float64). Complex entries count as two real ones.

    Args:
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.

    Returns:
      The symmetric Gramian.

    Example:
      >>> gramian({"w": jnp.array([[3., 4.], [1., 0.]]),
      ...          "b": jnp.array([0., 2.])}).tolist()
      [[25.0, 3.0], [3.0, 5.0]]
    """
    return cross_gramian(rows, rows)


def as_real(tree: Any) -> Any:
    """A tree of real arrays: a complex one is its real and its imaginary parts.

    A complex parameter is two real ones. Whatever a method makes of single entries, of
    their squares, signs or order, it makes of these.

    Args:
      tree: of arrays.

    Returns:
      The tree with complex leaves ``[...]`` as ``[..., 2]``.

    Example:
      >>> as_real(jnp.array([3. + 4.j])).tolist()
      [[3.0, 4.0]]
    """

    def parts(leaf: Array) -> Array:
        if not jnp.iscomplexobj(leaf):
            return leaf
        return jnp.stack([leaf.real, leaf.imag], axis=-1)

    return jax.tree.map(parts, tree)


def as_complex(tree: Any, like: Any) -> Any:
    """The tree of which :func:`as_real` made real arrays.

    Args:
      tree: of real arrays.
      like: a tree of the same structure, complex where the result is to be.
    """

    def whole(leaf: Array, model: Any) -> Array:
        if not jnp.iscomplexobj(model):
            return leaf
        return jax.lax.complex(leaf[..., 0], leaf[..., 1])

    return jax.tree.map(whole, tree, like)


def steepest(gradient: Any) -> Any:
    """The direction of steepest ascent, of what ``jax.grad`` returns.

    For a real function of a complex number JAX returns the conjugate of it. This one
    holds the derivatives by the real and by the imaginary part, as two real parameters
    have them, and its negative goes downhill.

    Args:
      gradient: a tree of arrays.
    """
    return jax.tree.map(
        lambda leaf: jnp.conj(leaf) if jnp.iscomplexobj(leaf) else leaf, gradient
    )


def cross_gramian(rows: Any, others: Any) -> Float[Array, "K M"]:
    """Inner products of two sets of gradients, ``A[i, j] = <g_i, h_j>``.

    Summed and accumulated as in :func:`gramian`, which is the case of equal sets.

    Args:
      rows: a pytree of gradients, every leaf ``[K, ...]``.
      others: one of the same structure, every leaf ``[M, ...]``.

    Returns:
      The matrix, of no particular symmetry.

    Example:
      >>> cross_gramian(jnp.eye(2), jnp.array([[3., 4.], [1., 0.]])).tolist()
      [[3.0, 1.0], [4.0, 0.0]]
    """

    def leaf_products(leaf: Array, other: Array) -> Array:
        flat = (leaf.reshape(leaf.shape[0], -1), other.reshape(other.shape[0], -1))
        return flat_products(*flat)

    summed = functools.partial(sum_over_columns, leaf_products)
    products = jax.tree.map(summed, as_real(rows), as_real(others))
    return sum(jax.tree.leaves(products))  # pyright: ignore[reportReturnType]


def row_norms(rows: Any) -> Float[Array, " K"]:
    """The length of every task gradient, at any scale.

    The rows are divided by their largest entry before they are squared, so that
    lengths from 1e-37 to 1e37 come out right in float32.

    Args:
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.

    Returns:
      The Euclidean norms, in float32 (float64 for float64 rows).

    Example:
      >>> print(row_norms(jnp.array([[3e30, 4e30], [0., 0.]])))
      [5.e+30 0.e+00]
    """
    leaves = jax.tree.leaves(as_real(rows))
    leaves = [leaf.reshape(leaf.shape[0], -1) for leaf in leaves]
    wide = [
        leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        for leaf in leaves
        if leaf.size
    ]
    if not wide:
        return jnp.zeros(len(leaves[0]))
    largest = jnp.max(
        jnp.stack([jnp.max(jnp.abs(leaf), axis=1) for leaf in wide]), axis=0
    )
    unit = jnp.where(largest > 0, largest, 1)
    squares = sum(jnp.sum((leaf / unit[:, None]) ** 2, axis=1) for leaf in wide)
    return unit * jnp.sqrt(squares)


def some_rows(rows: Any, num_tasks: int) -> Any:
    """The rows; where nothing is shared, an empty row of each task, which tells K.

    Tasks may share no parameter, as probes on a frozen encoder do. Their rows are a
    tree without arrays, whose inner products are 0.

    Args:
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.
      num_tasks: K.

    Example:
      >>> gramian(some_rows({}, 2)).tolist()
      [[0.0, 0.0], [0.0, 0.0]]
    """
    return rows if jax.tree.leaves(rows) else jnp.zeros((num_tasks, 0))


def zero_rows(params: Any, num_tasks: int) -> Any:
    """Rows of zeros, as running averages of the gradients start.

    Args:
      params: the shared parameters.
      num_tasks: K.

    Returns:
      A pytree, every leaf ``[K, ...]``, in float32 at least: an average in bfloat16
      would soon stop to move.

    Example:
      >>> zeros = zero_rows({"w": jnp.ones(3, jnp.bfloat16)}, 2)["w"]
      >>> zeros.shape, zeros.dtype.name
      ((2, 3), 'float32')
    """
    return jax.tree.map(
        lambda p: jnp.zeros(
            (num_tasks, *p.shape), jnp.promote_types(p.dtype, jnp.float32)
        ),
        params,
    )


def weight_dtype(params: Any) -> jnp.dtype:
    """The precision of weights: float32, or float64 where a parameter has it.

    Args:
      params: the shared parameters.

    Example:
      >>> weight_dtype({"w": jnp.ones(3, jnp.bfloat16)}).name
      'float32'
    """
    kinds = [jnp.finfo(leaf.dtype).dtype for leaf in jax.tree.leaves(params)]
    return jnp.result_type(jnp.float32, *kinds)


def task_numbers(params: Any, num_tasks: int, value: Number) -> Float[Array, " K"]:
    """The same number for every task, in the precision of the weights.

    Args:
      params: the shared parameters.
      num_tasks: K.
      value: the number.

    Returns:
      ``[K]``, float32 (float64 where a parameter is).

    Example:
      >>> task_numbers(jnp.ones(3, jnp.bfloat16), 2, 0.5)
      Array([0.5, 0.5], dtype=float32)
    """
    return jnp.full((num_tasks,), value, weight_dtype(params))


def scale_rows(scale: Float[Array, " K"], rows: Any) -> Any:
    """Every task's gradient times a number of its own, ``s_k g_k``.

    Args:
      scale: one factor per task.
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.

    Returns:
      A tree like ``rows``, in its dtypes.

    Example:
      >>> scale_rows(jnp.array([2., 0.]), jnp.array([[1., 3.], [1., 1.]])).tolist()
      [[2.0, 6.0], [0.0, 0.0]]
    """

    def scale_leaf(leaf: Array) -> Array:
        factor = scale.reshape(-1, *(1,) * (leaf.ndim - 1))
        wide = jnp.promote_types(leaf.dtype, jnp.float32)
        return (leaf * factor.astype(wide)).astype(leaf.dtype)

    return jax.tree.map(scale_leaf, rows)


def combine(weights: Float[Array, " K"], rows: Any) -> Any:
    """The weighted sum of the task gradients, ``sum_k w_k g_k``.

    Args:
      weights: one weight per task.
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``.

    Returns:
      A pytree without the task axis, in the dtype of the rows.

    Example:
      >>> combine(jnp.array([0.5, 2.]), jnp.array([[2., 0.], [0., 1.]])).tolist()
      [1.0, 2.0]
    """

    def leaf_sum(leaf: Array) -> Array:
        if len(leaf) <= FEW and leaf.size >= LONG * len(leaf):
            return weighted_sum(weights, leaf)
        total = jnp.tensordot(
            weights,
            leaf,
            axes=1,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.promote_types(leaf.dtype, jnp.float32),
        )
        return total.astype(leaf.dtype)

    return jax.tree.map(leaf_sum, rows)


def where_present(present: Bool[Array, " K"], new: Any, old: Any) -> Any:
    """``new`` for the present tasks, ``old`` for the others, leaf by leaf.

    Args:
      present: which tasks take part, ``[K]``.
      new: a tree of leaves ``[K, ...]``.
      old: a tree like it, or a number for all of it.
    """

    def choose(new_leaf: Array, old_leaf: Array | float | int) -> Array:
        mask = present.reshape(-1, *(1,) * (new_leaf.ndim - 1))
        return jnp.where(mask, new_leaf, old_leaf)

    if jax.tree.structure(old) != jax.tree.structure(new):
        old = jax.tree.map(lambda leaf: jnp.asarray(old, leaf.dtype), new)
    return jax.tree.map(choose, new, old)


def only_present(
    matrix: Float[Array, "K K"], present: Bool[Array, " K"]
) -> Float[Array, "K K"]:
    """The matrix with zeros in the rows and columns of absent tasks."""
    return jnp.where(present[:, None] & present[None, :], matrix, 0)


def with_tasks_at_rest(
    weights: Float[Array, " K"],
    gramian: Float[Array, "K K"],
    present: Bool[Array, " K"],
) -> Float[Array, " K"]:
    """The weights of a solve, 1 for present tasks without a gradient.

    They are solved, or have a head that is still zero. A solve that has no use for them
    gives them weight 0; where weights scale the heads, a head at zero would then never
    leave it.

    Args:
      weights: of the solve, ``[K]``.
      gramian: the inner products of all rows, ``[K, K]``.
      present: which tasks take part, ``[K]``.

    Example:
      >>> gramian = jnp.diag(jnp.array([2., 0., 0.]))
      >>> present = jnp.array([True, True, False])
      >>> with_tasks_at_rest(jnp.array([.5, 0., 0.]), gramian, present).tolist()
      [0.5, 1.0, 0.0]
    """
    resting = present & (jnp.diagonal(gramian) < jnp.finfo(gramian.dtype).tiny)
    return jnp.where(resting, 1, weights)


def divide_or_zero(
    numerator: Float[Array, "..."] | float, denominator: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The quotient where the denominator is above 0, and 0 elsewhere.

    Example:
      >>> divide_or_zero(6., jnp.array([2., 0.])).tolist()
      [3.0, 0.0]
    """
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def cosines(rows: Any) -> Float[Array, "K K"]:
    """The cosine of the angle between the gradients of every two tasks.

    Args:
      rows: a pytree of per-task gradients, every leaf ``[K, ...]``, of any scale.

    Returns:
      The symmetric matrix; the row and column of a task without a gradient are 0.

    Example:
      >>> cosines(jnp.array([[2., 0.], [-3., 0.], [0., 0.]])).tolist()
      [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return gramian(scale_rows(divide_or_zero(1.0, row_norms(rows)), rows))
