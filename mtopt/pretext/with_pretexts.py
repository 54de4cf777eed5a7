"""Pretext tasks beside labels: a model that trains both is a model again."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mtopt.errors import UserError
from mtopt.models.functional import Model
from mtopt.models.joint import JointModel
from mtopt.pretext.group import pretext_group, pretext_head
from mtopt.pretext.pretext import Pretext
from mtopt.problem import Params
from mtopt.tasks import TaskGroups


def with_pretexts(
    model: Model | JointModel,
    pretexts: Mapping[str, Pretext],
    *,
    shared_inputs: bool = True,
) -> JointModel:
    """A model whose encoder also learns from tasks without labels.

    Every pretext is a group of one task beside the groups of the model. Its views and
    its head come from the key of the step, or of the start, and from its own name: the
    initial parameters, and on shared inputs the noise, of the model's own tasks are bit
    for bit those without it. Its data is :func:`mtopt.data.unlabelled`, joined to that
    of the labels with the same ``shared_inputs``.

    Args:
      model: of :func:`mtopt.models.functional`, :data:`mtopt.models.MODELS` or
        :func:`mtopt.models.join`.
      pretexts: task name to pretext, one or more, on the encoder of the model; see
        :func:`mtopt.pretext.encoder_of`.
      shared_inputs: True if the pretexts make their views of the inputs of the labels,
        False if they have inputs of their own; that of a joint model.

    Returns:
      The model, groups in the order of their first tasks, as :func:`mtopt.data.join`
      has them. ``predict`` returns an entry for each; that of a pretext has no outputs,
      ``[1, B, 0]``. On shared inputs the statistics of BatchNorm in the labels' pass
      are over all samples that some task has, the pretexts' among them.

    Raises:
      UserError: without a pretext, for the name of a task of the model, or other
        ``shared_inputs`` than those of a joint model.

    Example:
      >>> import mtopt
      >>> from mtopt.models import MODELS
      >>> from mtopt.pretext import encoder_of, masked_reconstruction
      >>> digits = MODELS["mlp"](
      ...     (64,), names=("digit",), kind="classification", outputs=10, hidden=(8,))
      >>> masked = masked_reconstruction(encoder_of(digits, (64,)))
      >>> model = with_pretexts(digits, {"masked": masked})
      >>> model.tasks.names
      ('digit', 'masked')
      >>> params, state = jax.jit(model.init)(jax.random.key(0))
      >>> [each.shape for each in model.predict(params, state, jnp.ones((5, 64)))]
      [(1, 5, 10), (1, 5, 0)]
      >>> batch = mtopt.Batch(
      ...     jnp.ones((5, 64)), (jnp.zeros((1, 5), int), jnp.zeros((1, 5))),
      ...     (jnp.array([[True, True, False, False, False]]), jnp.ones((1, 5), bool)))
      >>> problem = model.tasks.problem(batch, jax.random.key(1), state)
      >>> problem.losses(params).shape
      (2,)
    """
    own = _as_groups(model, shared_inputs)
    names = sorted(pretexts)
    if not names:
        raise UserError("no pretext task: expected one at least")
    added = [pretext_group(name, pretexts[name]) for name in names]
    groups = [*own.tasks.groups, *added]
    order = sorted(range(len(groups)), key=lambda i: groups[i].names[0])
    labelled = [order.index(i) for i in range(len(own.tasks.groups))]
    tasks = TaskGroups(tuple(groups[i] for i in order), shared_inputs)

    def init(key: PRNGKeyArray) -> tuple[Params, Any]:
        params, states = own.init(key)
        _, head_key = jax.random.split(key)
        heads = [pretext_head(head_key, name, pretexts[name]) for name in names]
        heads = [*params["tasks"], *heads]
        states = [*states, *({},) * len(names)]
        params = {**params, "tasks": tuple(heads[i] for i in order)}
        return params, tuple(states[i] for i in order)

    def predict(
        params: Params, model_state: Any, x: Any
    ) -> tuple[Float[Array, "k B ..."], ...]:
        def of_labels(entries: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(entries[i] for i in labelled)

        mine = {**params, "tasks": of_labels(params["tasks"])}
        seen = x if shared_inputs else of_labels(x)
        found = own.predict(mine, of_labels(model_state), seen)
        inputs = (x,) * len(groups) if shared_inputs else x
        outputs = [_nothing(each) for each in inputs]
        for i, each in zip(labelled, found, strict=True):
            outputs[i] = each
        return tuple(outputs)

    return JointModel(tasks, init, predict)


def _as_groups(model: Model | JointModel, shared_inputs: bool) -> JointModel:
    """A model of one group as a joint one; a joint one as it is."""
    if isinstance(model, JointModel):
        if model.tasks.shared_inputs != shared_inputs:
            raise UserError(
                f"shared_inputs is {shared_inputs}, and the groups of the model have "
                f"shared_inputs={model.tasks.shared_inputs}: expected the same"
            )
        return model

    def init(key: PRNGKeyArray) -> tuple[Params, Any]:
        params, state = model.init(key)
        return {**params, "tasks": (params["tasks"],)}, (state,)

    def predict(
        params: Params, model_state: Any, x: Any
    ) -> tuple[Float[Array, "k B ..."], ...]:
        own = {**params, "tasks": params["tasks"][0]}
        return (model.predict(own, model_state[0], x if shared_inputs else x[0]),)

    return JointModel(TaskGroups((model.tasks,), shared_inputs), init, predict)


def _nothing(x: Any) -> Float[Array, "1 B 0"]:
    """What a pretext predicts of every sample."""
    return jnp.zeros((1, len(jax.tree.leaves(x)[0]), 0), jnp.float32)
