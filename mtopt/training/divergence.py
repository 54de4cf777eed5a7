"""Models that a guarded step has stopped: what is said of them, and their scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtopt.nonfinite import each_model, first_in_words
from mtopt.step import TrainState
from mtopt.training.evaluate import Scores
from mtopt.training.loop import stopped
from mtopt.training.program import Program


class Diverged(NamedTuple):
    """A model whose numbers were no longer finite.

    Attributes:
      seed: of the model.
      step: the first on which they were not, from 1.
      what: in words.
    """

    seed: int
    step: int
    what: str


def diverged(
    program: Program, state: TrainState, tasks: Sequence[str], seeds: Sequence[int]
) -> list[Diverged]:
    """The models that have stopped.

    Args:
      program: what ran.
      state: after the last step.
      tasks: the K task names.
      seeds: one a model, or for the K models of single tasks.
    """
    models = each_model(state.nonfinite)
    per_seed = len(models) // len(seeds)
    found = []
    for i in np.flatnonzero(stopped(program, state)).tolist():
        own = tasks if per_seed == 1 else tasks[i % per_seed :][:1]
        # Where no task is named, that of a single-task model says which one it is.
        named = len(program.models) == 1 or models[i].first_tasks.any()
        where = "" if named else f"the model of {own[0]!r}"
        noticed = first_in_words(models[i], own, where)
        if noticed is not None:
            seed, step = seeds[i // per_seed], int(models[i].first) + 1
            found.append(Diverged(seed, step, noticed[0]))
    return found


def without_diverged(program: Program, state: TrainState, scores: Scores) -> Scores:
    """Scores that are NaN for models that have stopped, whatever they had reached."""
    gone = stopped(program, state)
    if not gone.any():
        return scores
    of_tasks = np.broadcast_to(gone.reshape(len(gone), -1), scores.selection.shape)
    some = np.asarray(of_tasks.any(axis=1))
    return Scores(
        np.where(of_tasks[..., None], np.nan, scores.metrics),
        np.where(some[:, None], np.nan, scores.pooled),
        np.where(of_tasks, np.nan, scores.selection),
    )
