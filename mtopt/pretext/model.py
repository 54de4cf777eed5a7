"""Pretext tasks on one encoder, as the groups of tasks that the step trains."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.batch import Batch, masked_mean
from mtopt.data.graphs import Graph
from mtopt.errors import UserError
from mtopt.models.gcn import Encoder
from mtopt.per_task import PerTask, task_keys
from mtopt.pretext.pretext import Pretext
from mtopt.problem import Params
from mtopt.tasks import TaskGroups, Tasks


@dataclasses.dataclass(frozen=True)
class PretextModel:
    """A self-supervised model of several pretext tasks; see :func:`pretext_model`.

    Args:
      tasks: a group for every pretext, for :func:`mtopt.make_train_step`.
      init: ``key -> (params, None)``, the parameters ``{"shared": {"encoder": ...,
        "mask_token": [F]}, "tasks": ...}`` and no model state.
      predict: ``(params, None, graph) -> [N, width]``, the encoder on a whole graph.
      batch: ``graph -> batch``, the graph as the one sample of every task.
    """

    tasks: TaskGroups
    init: Callable[[PRNGKeyArray], tuple[Params, None]]
    predict: Callable[[Params, None, Graph], Any]
    batch: Callable[[Graph], Batch]


def pretext_model(encoder: Encoder, pretexts: Mapping[str, Pretext]) -> PretextModel:
    """One encoder, trained by several pretext tasks in one step.

    Each is a group of one task: its ``encode`` makes its own view of the graph inside
    the step, and nothing but the encoder's parameters is common to them. A step
    therefore costs the forward and backward passes of every task, once; the released
    code of ParetoGNN takes them twice.

    The randomness of a task is that of the step and of its own name: it sees the same
    views, and starts from the same head, whatever other tasks there are.

    Args:
      encoder: what is trained.
      pretexts: task name to pretext, one or more.

    Raises:
      UserError: without a pretext.

    Example:
      >>> import numpy as np, optax, mtopt
      >>> from mtopt.data.graphs import Features
      >>> from mtopt.models.gcn import gcn
      >>> from mtopt.pretext import decorrelation, node_graph_information
      >>> encoder = gcn(3, hidden=(4,))
      >>> model = pretext_model(encoder, {
      ...     "decorrelation": decorrelation(encoder),
      ...     "information": node_graph_information(encoder)})
      >>> tx = optax.chain(mtopt.mgda(2, normalize="l2"), optax.adamw(1e-3))
      >>> params, _ = jax.jit(model.init)(jax.random.key(0))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(1))
      >>> x = Features.dense(jnp.eye(3))
      >>> graph = Graph.of(x, np.array([[0, 1], [1, 2]]))
      >>> step = mtopt.make_train_step(model.tasks, tx)
      >>> state, metrics = step(state, model.batch(graph))
      >>> metrics["losses"].shape, model.predict(state.params, None, graph).shape
      ((2,), (3, 4))

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016.
    """
    if not pretexts:
        raise UserError("no pretext task: expected one at least")
    names = sorted(pretexts)
    groups = TaskGroups(
        tuple(_group(name, pretexts[name]) for name in names), shared_inputs=True
    )

    def init(key: PRNGKeyArray) -> tuple[Params, None]:
        encoder_key, head_key = jax.random.split(key)
        heads = []
        for name in names:
            (own,) = task_keys(head_key, (name,))
            heads.append(PerTask.stack({name: pretexts[name].init(own)}))
        token = jnp.zeros(encoder.features, jnp.float32)
        shared = {"encoder": encoder.init(encoder_key), "mask_token": token}
        return {"shared": shared, "tasks": tuple(heads)}, None

    def batch(graph: Graph) -> Batch:
        one = jax.tree.map(lambda leaf: leaf[None], graph)
        nothing = jnp.zeros((1, 1), jnp.float32)
        there = jnp.ones((1, 1), bool)
        return Batch(one, (nothing,) * len(names), (there,) * len(names))

    def predict(
        params: Params, model_state: None, graph: Graph
    ) -> Float[Array, "N width"]:
        del model_state
        return encoder.apply(params["shared"]["encoder"], graph)

    return PretextModel(groups, init, predict, batch)


def _group(name: str, pretext: Pretext) -> Tasks:
    """One pretext as a group of one task, whose samples are graphs."""

    def encode(shared: Any, x: Any, key: PRNGKeyArray) -> Any:
        graph = jax.tree.map(lambda leaf: leaf[0], x)
        # Groups on shared inputs have the step's key in common.
        (own,) = task_keys(key, (name,))
        return pretext.encode(shared, graph, own)

    def head_loss(
        head: Any,
        representation: Any,
        targets: Any,
        mask: Bool[Array, "1"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        del targets
        return masked_mean(pretext.loss(head, representation, key)[None], mask)

    return Tasks((name,), encode, head_loss)
