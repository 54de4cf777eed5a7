"""Norms and cosines of the task gradients, for the records of a run."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from mtopt.batch import Batch
from mtopt.linalg import cosines, gramian, some_rows
from mtopt.step import TrainState
from mtopt.tasks import TaskGroups, Tasks
from mtopt.training.program import map_models


@functools.cache
def gradient_conflicts(
    tasks: Tasks | TaskGroups,
) -> Callable[[TrainState, Batch], Mapping[str, jax.Array]]:
    """A function that measures norms and cosines of the task gradients of a step.

    A second compiled function, so that the step itself pays nothing for it; one call
    costs the gradients of a step. It compiles once for all methods that train the same
    tasks. For ``measure`` of :func:`mtopt.training.loop.train`.

    Args:
      tasks: the model in training mode.

    Returns:
      ``(state, batch) -> {"norm": [S, K], "cosine": [S, K, K]}`` for S seeds.
    """

    def measure(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        key = jax.random.fold_in(state.key, state.step)
        problem = tasks.problem(batch, key, state.model_state)
        rows = problem.losses_and_grads(state.params)[1]["shared"]
        rows = some_rows(rows, len(tasks.names))
        return {
            "norm": jnp.sqrt(jnp.diagonal(gramian(rows))),
            "cosine": cosines(rows),
        }

    return jax.jit(map_models(measure))
