"""A learning rate of their own for the tasks' own parameters."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from mtopt.errors import UserError, expect_number, nearest
from mtopt.evaluation import split
from mtopt.options import Number
from mtopt.per_task import scale_heads, task_names


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
      >>> heads = mtopt.PerTask(jnp.ones(2), ("a", "b"))
      >>> params = {"shared": jnp.ones(2), "tasks": heads}
      >>> rows = {"shared": jnp.eye(2), "tasks": heads}
      >>> updates, _ = tx.update(rows, tx.init(params), params)
      >>> (-updates["tasks"].values).tolist()
      [0.0, 0.5]
    """
    named = rates if isinstance(rates, Mapping) else {"rates": rates}
    for name, rate in named.items():
        expect_number(f"the rate of task {name!r}", rate, at_least=0)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        shared, heads = split(updates)
        if heads is None:
            return updates, state
        known = task_names(heads)
        if not isinstance(rates, Mapping):
            own = jnp.full(len(known), rates, float)
        else:
            for name in rates:
                if name not in known:
                    raise UserError(f"a rate of task {name!r}: {nearest(name, known)}")
            own = jnp.stack([jnp.asarray(rates.get(name, 1), float) for name in known])
        return {"shared": shared, "tasks": scale_heads(heads, own)}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
