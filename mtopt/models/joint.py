"""Several models as one on a common encoder: a group of tasks from each."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from mtopt.errors import UserError
from mtopt.models.functional import Model, cannot_be_told
from mtopt.per_task import in_words
from mtopt.problem import Params
from mtopt.tasks import TaskGroups


@dataclasses.dataclass(frozen=True)
class JointModel:
    """A model whose tasks are of several kinds; made by :func:`join`.

    Args:
      tasks: the groups in training mode, for :func:`mtopt.make_train_step`.
      init: ``key -> (params, model_state)``: ``{"shared": dict, "tasks": tuple}``, an
        entry of ``tasks`` and of the state for each group.
      predict: ``(params, model_state, x) -> tuple``: what each model predicts; ``x`` is
        one input, or a tuple with those of each group.
      encode_frozen: ``paths -> encodes``, one of each group, else as that of
        :class:`mtopt.models.Model`.
      frozen: the paths that it has been told.
    """

    tasks: TaskGroups
    init: Callable[[PRNGKeyArray], tuple[Params, Any]]
    predict: Callable[[Params, Any, Any], tuple[Float[Array, "k B ..."], ...]]
    encode_frozen: Callable[[Sequence[str]], Sequence[Callable[..., Any]]] | None = None
    frozen: tuple[str, ...] = ()

    def frozen_at(self, paths: Sequence[str]) -> "JointModel":
        """As of :class:`mtopt.models.Model`.

        Args:
          paths: of parameters of the encoder.

        Raises:
          UserError: where it cannot be told, and keeps statistics of batches.
        """
        known = tuple(sorted({*self.frozen, *paths}))
        groups = self.tasks.groups
        if self.encode_frozen is not None:
            pairs = zip(groups, self.encode_frozen(known), strict=True)
            groups = [dataclasses.replace(own, encode=its) for own, its in pairs]
        elif any(group.stateful for group in groups):
            raise UserError(cannot_be_told(self))
        tasks = dataclasses.replace(self.tasks, groups=tuple(groups))
        return dataclasses.replace(self, tasks=tasks, frozen=known)


def join(models: Sequence[Model], *, shared_inputs: bool = False) -> JointModel:
    """Makes one model of several that have the same encoder.

    The heads of each are a group: of their own kind of labels and their own number of
    outputs. A head starts where it starts alone. Models whose encoder is told the task
    are made for the tasks of all, and cut to their own; see
    :func:`mtopt.models.some_tasks`.

    Args:
      models: two or more, with the same parameters of the encoder, such as entries of
        :data:`mtopt.models.MODELS` with equal options for tasks of several kinds.
      shared_inputs: True if all groups read one input: the encoder then runs once.

    Returns:
      The model; the encoder of the first is that of all.

    Raises:
      UserError: for less than two models, encoders of other parameters or that are
        told places among other tasks, or a task that stands in two of them.

    Example:
      >>> from mtopt.models import MODELS
      >>> mlp = MODELS["mlp"]
      >>> model = join([
      ...     mlp((4,), names=("a", "b"), kind="binary", outputs=1, hidden=(8,)),
      ...     mlp((4,), names=("c",), kind="regression", outputs=1, hidden=(8,)),
      ... ], shared_inputs=True)
      >>> model.tasks.names
      ('a', 'b', 'c')
      >>> params, model_state = model.init(jax.random.key(0))
      >>> outputs = model.predict(params, model_state, jax.numpy.ones((5, 4)))
      >>> [each.shape for each in outputs]
      [(2, 5), (1, 5)]
    """
    if len(models) < 2:
        raise UserError(f"{len(models)} models to join: expected two or more")
    groups = [model.tasks for model in models]
    told = any(group.per_task for group in groups)
    if shared_inputs and not told:
        encode = groups[0].encode
        groups = [dataclasses.replace(group, encode=encode) for group in groups]
    tasks = TaskGroups(tuple(groups), shared_inputs)
    for model in models:
        if told and model.among != tasks.names:
            raise UserError(
                f"the encoder of tasks {in_words(model.tasks.names)} is told their "
                f"places among {in_words(model.among)}: expected a model of "
                f"{in_words(tasks.names)}, cut to its own by mtopt.models.some_tasks"
            )
    _check_encoders(models)

    def init(key: PRNGKeyArray) -> tuple[Params, Any]:
        each = [model.init(key) for model in models]
        heads = tuple(params["tasks"] for params, _ in each)
        shared = each[0][0]["shared"]
        return {"shared": shared, "tasks": heads}, tuple(state for _, state in each)

    def predict(
        params: Params, model_state: Any, x: Any
    ) -> tuple[Float[Array, "k B ..."], ...]:
        inputs = (x,) * len(models) if shared_inputs else x
        own = zip(models, params["tasks"], model_state, inputs, strict=True)
        return tuple(
            model.predict({"shared": params["shared"], "tasks": heads}, state, seen)
            for model, heads, state, seen in own
        )

    made = [model.encode_frozen for model in models]
    encoders = [own for own in made if own is not None]

    def encode_frozen(paths: Sequence[str]) -> Sequence[Callable[..., Any]]:
        if shared_inputs and not told:
            return [encoders[0](paths)] * len(models)
        return [own(paths) for own in encoders]

    tellable = encode_frozen if len(encoders) == len(models) else None
    # One program, in which the encoder is drawn once.
    return JointModel(tasks, jax.jit(init), predict, tellable)


def _check_encoders(models: Sequence[Model]) -> None:
    """Raises unless all have the same parameters in common."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = [jax.eval_shape(model.init, key)[0]["shared"] for model in models]
    for i, other in enumerate(shapes[1:], start=1):
        if str(other) != str(shapes[0]):
            names = models[0].tasks.names, models[i].tasks.names
            raise UserError(
                f"the encoders of tasks {names[0]} and {names[1]} have other "
                "parameters: expected one encoder, with equal options and inputs of "
                "one shape"
            )
