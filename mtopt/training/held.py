"""Models of a stack that have ended, and stay as they were while others go on."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.step import TrainState
from mtopt.training.program import StepLosses


@dataclasses.dataclass
class Held:
    """Which models of a stack have ended, and what they were.

    A program steps all of its models. Those that have ended are put back afterwards, so
    that nothing is seen of it: neither in records nor in what is chosen or stored.

    Args:
      ended: ``(state, carry) -> bool`` of every model, ``[S]`` or ``[S, K]``.
    """

    ended: Callable[[TrainState, Any], Any]

    def __post_init__(self) -> None:
        self.models = np.zeros((), bool)
        self._state: TrainState | None = None

    def look(self, state: TrainState, carry: Any) -> None:
        """Asks which models have ended, and keeps a copy of them.

        Args:
          state: now, of all models.
          carry: of the run.
        """
        before, self.models = self.models, np.asarray(self.ended(state, carry))
        if self.models.any() and not np.array_equal(before, self.models):
            self._state = jax.tree.map(jnp.copy, state)

    def put_back(
        self, state: TrainState, losses: StepLosses
    ) -> tuple[TrainState, StepLosses]:
        """The state and the losses of a step, in which models that ended have no part.

        Args:
          state: after the step; donated.
          losses: of it.
        """
        if self._state is None:
            return state, losses
        return _put_back(self.models, self._state, state, losses)


@functools.partial(jax.jit, donate_argnums=2)
def _put_back(
    ended: Any, held: TrainState, state: TrainState, losses: StepLosses
) -> tuple[TrainState, StepLosses]:
    def pick(old: jax.Array, new: jax.Array) -> jax.Array:
        where = ended.reshape(ended.shape + (1,) * (new.ndim - ended.ndim))
        return jnp.where(where, old, new)

    absent = ended.reshape(ended.shape + (1,) * (losses.present.ndim - ended.ndim))
    there = losses._replace(present=losses.present & ~absent)
    return jax.tree.map(pick, held, state), there
