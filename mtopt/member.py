"""Members of a chain that tell the next ones what they made of the evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import optax


@jax.tree_util.register_static  # as a tuple it would be made anew of init and update
class Member(optax.GradientTransformationExtraArgs):
    """An optax transformation of per-task gradients, and of what is known of them.

    Updates alone do not say where gradients were taken. In :func:`mtopt.chain` a member
    of this type hands on the evaluation that belongs to its updates; anywhere else it
    is an ordinary optax transformation.

    Args:
      init: as of any optax transformation.
      see: ``(updates, state, params, *, evaluation, **extra) -> (updates, state,
        evaluation)``; the evaluation is None where the update got none.
      least_losses: the lowest losses that it takes; see :class:`mtopt.Rule`.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> tx = mtopt.normalize_rows(1)
      >>> rows = jnp.array([[3., 4.]])
      >>> known = mtopt.Evaluation(rows=rows)
      >>> updates, _, after = tx.see(rows, tx.init(rows[0]), evaluation=known)
      >>> after.rows is updates
      True
    """

    see: Callable[..., tuple[Any, Any, Any]]
    least_losses: Any

    def __new__(
        cls,
        init: Callable[..., Any],
        see: Callable[..., Any],
        least_losses: Any = None,
    ) -> "Member":
        """The optax pair ``(init, update)``."""

        def update(
            updates: Any, state: Any, params: Any = None, **extra: Any
        ) -> tuple[Any, Any]:
            updates, state, _ = see(updates, state, params, **extra)
            return updates, state

        self = super().__new__(cls, init, update)
        self.see = see
        self.least_losses = least_losses
        return self
