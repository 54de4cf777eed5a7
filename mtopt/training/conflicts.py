"""Norms and cosines of the task gradients, for the records of a run."""

import functools
from collections.abc import Callable, Mapping

import jax

from mtopt.analysis.diagnostics import diagnostics
from mtopt.batch import Batch
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
        problem = tasks.problem(batch, key, state.model_state, state.constants)
        found = diagnostics(problem.evaluate(state.params))
        return {"norm": found.norm, "cosine": found.cosine}

    return jax.jit(map_models(measure))
