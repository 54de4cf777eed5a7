"""A learning rate of their own for the tasks' own parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtopt.errors import UserError, expect_number, nearest
from mtopt.linalg import scale_rows
from mtopt.options import Number
from mtopt.per_head import task_names
from mtopt.per_task import PerTask


def scale_tasks(rates: Number | Mapping[str, Number]) -> optax.GradientTransformation:
    r"""Multiplies the updates of the tasks' own parameters, each task's by its number.

    .. math:: u_k \leftarrow r_k u_k

    It stands last in a chain, where an update is what is added to the parameters. Heads
    are stacked, so that a mask of optax can freeze all of them or none; here 0 freezes
    the head of one task.

    Args:
      rates: r, one number for all tasks, or task name to number; tasks that it does not
        name keep their updates. 0 or more; a negative one would climb the loss.

    Returns:
      A transformation without a state.

    Raises:
      UserError: for a negative number, or (on update) a name that no task has.

    Example:
      >>> import mtopt
      >>> tx = mtopt.chain(
      ...     mtopt.equal_weighting(2), optax.sgd(1.0), scale_tasks({"a": 0.0}))
      >>> params = {"shared": jnp.ones(2), "tasks": PerTask(jnp.ones(2), ("a", "b"))}
      >>> rows = {"shared": jnp.eye(2), "tasks": PerTask(jnp.ones(2), ("a", "b"))}
      >>> updates, _ = tx.update(rows, tx.init(params), params)
      >>> (-updates["tasks"].values).tolist()
      [0.0, 0.5]
    """
    named = rates if isinstance(rates, Mapping) else {"rates": rates}
    for name, rate in named.items():
        expect_number(f"the rate of task {name!r}", rate, at_least=0)

    def scale(node: Any) -> Any:
        if not _is_stack(node):
            return node
        if isinstance(rates, Mapping):
            own = jnp.stack([jnp.asarray(rates.get(name, 1.0)) for name in node.names])
        else:
            own = jnp.full(len(node.names), rates)
        return scale_rows(own, node)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        known = task_names(updates)
        for name in rates if isinstance(rates, Mapping) else ():
            if name not in known:
                raise UserError(f"a rate of task {name!r}: {nearest(name, known)}")
        return jax.tree.map(scale, updates, is_leaf=_is_stack), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _is_stack(node: Any) -> bool:
    return isinstance(node, PerTask)
