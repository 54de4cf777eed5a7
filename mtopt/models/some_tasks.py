"""The part of a model that has some of its tasks, for those of a kind among others."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mtopt.errors import UserError
from mtopt.models.functional import Model
from mtopt.own_statistics import OwnStatistics
from mtopt.per_task import PerTask, in_words
from mtopt.problem import Params
from mtopt.task import Task


def some_tasks(model: Model, names: tuple[str, ...]) -> Model:
    """A model of all tasks, cut to some: the same encoder, in which they keep a place.

    An encoder that is told the task may have something for each of them, experts or
    networks or rows of a table, and picks it by the place of the task among all. Tasks
    of several kinds have heads in groups, and a group knows its own tasks alone. So the
    model of a group is made for the tasks of all groups, and cut to its own; what
    :func:`mtopt.models.join` then joins is one encoder.

    Args:
      model: of all tasks, of the kind of these.
      names: the tasks to keep, sorted.

    Returns:
      The model. A task starts as it does in the model of all.

    Raises:
      UserError: for names that the model has not.

    Example:
      >>> import jax.numpy as jnp
      >>> from mtopt.models import MODELS
      >>> model = MODELS["skills"]((4,), names=("a", "b", "c"), kind="binary",
      ...                          outputs=1, hidden=3)
      >>> both = some_tasks(model, ("a", "c"))
      >>> params, model_state = both.init(jax.random.key(0))
      >>> both.tasks.names, both.predict(params, model_state, jnp.ones((5, 4))).shape
      (('a', 'c'), (2, 5))
    """
    every = model.tasks.names
    if unknown := sorted({*names} - {*every}):
        raise UserError(
            f"no task {unknown[0]!r} in a model of {in_words(every)}: expected some of "
            "them"
        )
    if names == every:
        return model
    places = np.array([every.index(name) for name in names])

    def init(key: PRNGKeyArray) -> tuple[Params, Any]:
        params, model_state = model.init(key)
        heads = _rows(params["tasks"].values, places)
        if isinstance(model_state, OwnStatistics):
            model_state = _rows(model_state, places)
        return {**params, "tasks": PerTask(heads, names)}, model_state

    def cut(encode: Callable[..., Any]) -> Callable[..., Any]:
        if not model.tasks.per_task:
            return encode

        def of_some(*arguments: Any) -> Any:
            *others, task = arguments
            place = jax.numpy.asarray(places)[task.index]
            return encode(*others, Task(place, task.own))

        return of_some

    told = model.encode_frozen
    tasks = dataclasses.replace(
        model.tasks, names=names, encode=cut(model.tasks.encode)
    )
    return dataclasses.replace(
        model,
        tasks=tasks,
        init=jax.jit(init),
        encode_frozen=None if told is None else lambda paths: cut(told(paths)),
    )


def _rows(tree: Any, places: np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: leaf[places], tree)
