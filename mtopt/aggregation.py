"""What every aggregator does around its own weights: check, weigh, combine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError
from mtopt.linalg import combine
from mtopt.per_task import PerTask


class WeightingState(NamedTuple):
    """State of an aggregator that weighs tasks.

    Attributes:
      weights: the weights of the last update, ``[K]``, before ``task_weights``; read
        them anywhere with ``optax.tree.get(opt_state, "weights")``.
      memory: what the method remembers between steps.
    """

    weights: Float[Array, " K"]
    memory: Any


def weighting(
    num_tasks: int,
    weigh: Callable[..., tuple[Float[Array, " K"], Any]],
    *,
    heads: str,
    memory: Any = (),
    from_rows: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""An aggregator from a rule that gives every task a weight.

    .. math:: d = \sum_k w_k t_k g_k

    with :math:`w` from ``weigh``, zero for absent tasks, and :math:`t` the
    ``task_weights`` that users and wrappers set: they multiply the solution, since
    scaling a row before a min-norm solve would raise its weight instead.

    Args:
      num_tasks: K, at least 1.
      weigh: ``(memory, *, rows, params, present, **extra) -> (weights, memory)``. It
        names the extra arguments it needs (``losses``, ``problem``) keyword-only, so
        that a missing one is a ``TypeError`` with its name.
      heads: ``"weighted"``: a task's own parameters move along ``w_k t_k`` times their
        gradient, as when the weighted loss is differentiated; ``"plain"``: along their
        gradient alone.
      memory: the initial memory of the method.
      from_rows: True if ``weigh`` reads the rows, which then exist anyway and are
        summed; False pulls the weights back through the loss instead, in one backward
        pass, where the step offers that and no transformation before this one has
        changed the rows (``rows`` are those of the step: the very same arrays).

    Returns:
      An optax transformation from per-task gradients to one direction. ``updates`` is
      ``{"shared": rows, "tasks": head gradients}``, or any other tree of rows: then
      all of it is shared.

    Raises:
      UserError: for fewer than one task, an unknown head rule, or (on update) leaves
        without the task axis.
    """
    if num_tasks < 1:
        raise UserError(f"num_tasks is {num_tasks}: expected at least 1")
    if heads not in ("weighted", "plain"):
        raise UserError(f"heads is {heads!r}: expected 'weighted' or 'plain'")

    def init(params):
        del params
        uniform = jnp.full((num_tasks,), 1 / num_tasks, jnp.float32)
        return WeightingState(uniform, memory)

    def update(
        updates,
        state,
        params=None,
        *,
        rows=None,
        present=None,
        task_weights=None,
        pullback=None,
        problem=None,
        **extra,
    ):
        clean_rows = rows
        rows, head_grads = split(updates)
        check_rows(rows, None if params is None else split(params)[0], num_tasks)
        if present is None:
            everyone = jnp.ones((num_tasks,), bool)
            present = everyone if problem is None else problem.present
        weights, memory = weigh(
            state.memory,
            rows=rows,
            params=params,
            present=present,
            problem=problem,
            **extra,
        )
        weights = jnp.where(present, weights, 0).astype(state.weights.dtype)
        applied = weights if task_weights is None else weights * task_weights
        if not from_rows and pullback is not None and _same(rows, clean_rows):
            direction = pullback(applied)
        else:
            direction = combine(applied, rows)
        if head_grads is not None:
            if heads == "weighted":
                head_grads = scale_heads(head_grads, applied)
            direction = {"shared": direction, "tasks": head_grads}
        return direction, WeightingState(weights, memory)

    return optax.GradientTransformationExtraArgs(init, update)


def _same(rows: Any, clean_rows: Any) -> bool:
    """True if these are the rows of the step itself, array for array."""
    if clean_rows is None:
        return False
    pairs = zip(jax.tree.leaves(rows), jax.tree.leaves(clean_rows), strict=True)
    return all(row is clean for row, clean in pairs)


def split(tree: Any) -> tuple[Any, Any]:
    """The shared part and the tasks' part of ``{"shared": ..., "tasks": ...}``.

    Any other tree is shared as a whole, and its tasks' part is None.
    """
    if isinstance(tree, dict) and tree.keys() == {"shared", "tasks"}:
        return tree["shared"], tree["tasks"]
    return tree, None


def check_rows(rows: Any, shared: Any, num_tasks: int) -> None:
    """Raises unless every leaf of ``rows`` is ``[K, *shape of its parameter]``.

    Args:
      rows: the per-task gradients that reached an aggregator.
      shared: the shared parameters, or None where the caller gave none.
      num_tasks: K.

    Raises:
      UserError: naming the leaf.
    """
    found = jax.tree_util.tree_leaves_with_path(rows)
    expected = [None] * len(found) if shared is None else jax.tree.leaves(shared)
    for (path, leaf), parameter in zip(found, expected, strict=True):
        want = (
            num_tasks,
            *(jnp.shape(leaf)[1:] if parameter is None else parameter.shape),
        )
        if jnp.shape(leaf) != want:
            where = jax.tree_util.keystr(path) or "the gradient"
            raise UserError(
                f"expected rows of {num_tasks} tasks, {where} of shape {want}: got "
                f"{jnp.shape(leaf)}; an aggregator takes per-task gradients and "
                "stands before every ordinary optax transformation in the chain"
            )


def scale_heads(head_grads: Any, weights: Float[Array, " K"]) -> Any:
    """Each task's own gradient times its weight; groups find theirs by name."""

    def is_heads(node):
        return isinstance(node, PerTask)

    groups = jax.tree.leaves(head_grads, is_leaf=is_heads)
    names = sorted(name for group in groups for name in group.names)

    def scale_group(group):
        own = weights[jnp.array([names.index(name) for name in group.names])]
        return jax.tree.map(
            lambda leaf: (
                leaf * own.reshape(-1, *(1,) * (leaf.ndim - 1)).astype(leaf.dtype)
            ),
            group,
        )

    return jax.tree.map(scale_group, head_grads, is_leaf=is_heads)


def uniform_over(present: Bool[Array, " K"]) -> Float[Array, " K"]:
    """Equal weights on the present tasks, summing to 1 (to 0 where none is)."""
    count = jnp.maximum(present.sum(), 1).astype(jnp.float32)
    return present.astype(jnp.float32) / count
