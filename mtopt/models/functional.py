"""NNX modules as pure functions: the one place that calls split and merge."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from mtopt.batch import masked_mean
from mtopt.errors import UserError
from mtopt.models.heads import check_kind, per_sample_loss, predictions
from mtopt.models.layers import BatchNorm, average_over
from mtopt.per_task import PerTask, task_keys
from mtopt.problem import Params
from mtopt.tasks import Tasks

Factory = Callable[[nnx.Rngs], nnx.Module]


@dataclasses.dataclass(frozen=True)
class Model:
    """A multi-task model as functions of plain trees; made by :func:`functional`.

    Args:
      tasks: the model in training mode, for :func:`mtopt.make_train_step`.
      init: ``key -> (params, model_state)``: ``{"shared": dict, "tasks": PerTask}``
        and the BatchNorm statistics, an empty dict without any. Pure: it can be
        jitted, and mapped over the keys of several seeds.
      predict: ``(params, model_state, x) -> predictions`` in evaluation mode (running
        statistics, no dropout), float32: logits ``[K, B, C]`` for classification and
        multilabel, ``[K, B]`` for binary (one logit) and regression. Disjoint inputs
        are ``[K, b, ...]``, as in training.
    """

    tasks: Tasks
    init: Callable[[PRNGKeyArray], tuple[Params, dict[str, Any]]]
    predict: Callable[[Params, dict[str, Any], Any], Float[Array, "K B ..."]]


def functional(
    encoder: Factory,
    head: Factory,
    names: tuple[str, ...],
    *,
    kind: str,
    x_axis: int | None = None,
) -> Model:
    """A model of K equal heads on one encoder, from two NNX modules.

    The modules are ordinary: dropout draws from the ``rngs`` they were made with
    (reseeded in every step with the step's key), BatchNorm keeps its statistics in
    ``nnx.BatchStat`` (take :class:`mtopt.models.layers.BatchNorm`, which costs no
    second forward pass). Outside this file only plain dicts of arrays are seen.

    In training BatchNorm uses the statistics of the labelled samples of the batch, for
    disjoint inputs of each task's own sub-batch; padding has no part in them. The
    running statistics move once per step, by one clean forward pass, whatever points a
    method evaluates; with disjoint inputs every task that is present moves its own,
    which normalise its inputs in evaluation as its batches did in training.

    Args:
      encoder: makes the shared part, ``x -> representation``.
      head: makes the part of one task, ``representation -> outputs [b, C]``.
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      x_axis: None for shared inputs, 0 for disjoint ones; see :class:`mtopt.Tasks`.

    Returns:
      The model. The head of a task starts from ``fold_in(key, crc32(name))``, so that
      it does not depend on which other tasks there are.

    Raises:
      UserError: for an unknown kind, names out of order, or a module with variables
        that are neither parameters, statistics nor randomness.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> model = functional(
      ...     lambda rngs: nnx.Linear(3, 4, rngs=rngs),
      ...     lambda rngs: nnx.Linear(4, 2, rngs=rngs),
      ...     ("left", "right"), kind="classification")
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["shared"]["kernel"].shape, params["tasks"].values["kernel"].shape
      ((3, 4), (2, 4, 2))
      >>> model.predict(params, model_state, jnp.ones((5, 3))).shape
      (2, 5, 2)
      >>> batch = mtopt.Batch.shared(
      ...     jnp.ones((1, 3)), {"left": jnp.array([0]), "right": jnp.array([1])})
      >>> model.tasks.problem(batch, jax.random.key(1)).losses(params).shape
      (2,)
    """
    check_kind(kind)
    trunk, branch = Pure.of(encoder), Pure.of(head)
    if branch.stateful:
        raise UserError(
            "the head keeps BatchNorm statistics: expected them in the encoder alone; "
            "use nnx.LayerNorm in heads"
        )

    def encode(
        shared: Any,
        x: Any,
        key: PRNGKeyArray,
        model_state: Any,
        labelled: Bool[Array, " b"],
    ) -> tuple[Any, dict[str, Any]]:
        return trunk.train(shared, model_state, x, key, labelled)

    def encode_stateless(shared: Any, x: Any, key: PRNGKeyArray) -> Any:
        return trunk.train(shared, {}, x, key)[0]

    def head_loss(
        parameters: Any,
        representation: Any,
        targets: Num[Array, "b ..."],
        mask: Bool[Array, " b"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        outputs, _ = branch.train(parameters, {}, representation, key)
        losses = per_sample_loss(predictions(outputs, kind), targets, kind)
        return masked_mean(losses, mask)

    def init(key: PRNGKeyArray) -> tuple[Params, dict[str, Any]]:
        trunk_key, branch_key = jax.random.split(key)
        shared, model_state = trunk.init(trunk_key)
        if x_axis is not None:
            model_state = jax.tree.map(
                lambda leaf: jnp.stack([leaf] * len(names)), model_state
            )
        heads, _ = jax.vmap(branch.init)(task_keys(branch_key, names))
        return {"shared": shared, "tasks": PerTask(heads, names)}, model_state

    def predict_one(parameters: Any, representation: Any) -> Float[Array, "b ..."]:
        return predictions(branch.evaluate(parameters, {}, representation), kind)

    def predict(params: Params, model_state: Any, x: Any) -> Float[Array, "K b ..."]:
        encode_all = trunk.evaluate
        if x_axis is not None:
            encode_all = jax.vmap(encode_all, in_axes=(None, 0, x_axis))
        representation = encode_all(params["shared"], model_state, x)
        over_tasks = jax.vmap(predict_one, in_axes=(0, x_axis))
        return over_tasks(params["tasks"].values, representation)

    tasks = Tasks(
        names,
        encode if trunk.stateful else encode_stateless,
        head_loss,
        x_axis=x_axis,
        stateful=trunk.stateful,
    )
    return Model(tasks, init, predict)


@dataclasses.dataclass(frozen=True)
class Pure:
    """One NNX module as pure functions of two plain dicts, parameters and statistics.

    ``training`` and ``evaluation`` are the module's structure in either mode;
    ``randomness`` holds shapes alone, since every call in training sets its own keys.
    """

    make: Factory
    training: nnx.GraphDef
    evaluation: nnx.GraphDef
    randomness: dict[str, Any]
    stateful: bool

    @classmethod
    def of(cls, make: Factory) -> "Pure":
        """The functions of the module that ``make`` makes.

        Raises:
          UserError: for variables that are neither parameters, statistics nor
            randomness.
        """
        module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
        module.eval()
        evaluation = nnx.graphdef(module)
        module.train()
        training, _, statistics, randomness, rest = nnx.split(
            module, nnx.Param, nnx.BatchStat, nnx.RngState, ...
        )
        if jax.tree.leaves(rest):
            raise UserError(
                f"{type(module).__name__} holds variables {sorted(map(str, rest))}: "
                "expected nnx.Param, nnx.BatchStat and the state of rngs alone"
            )
        stateful = bool(jax.tree.leaves(statistics))
        return cls(make, training, evaluation, nnx.to_pure_dict(randomness), stateful)

    def init(self, key: PRNGKeyArray) -> tuple[dict[str, Any], ...]:
        """New parameters and statistics."""
        parts = nnx.state(self.make(nnx.Rngs(key)), nnx.Param, nnx.BatchStat)
        return tuple(nnx.to_pure_dict(part) for part in parts)

    def train(
        self,
        parameters: Any,
        statistics: Any,
        x: Any,
        key: PRNGKeyArray,
        labelled: Bool[Array, " b"] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Outputs in training mode, and the new statistics, over labelled samples."""
        streams, structure = jax.tree.flatten(self.randomness)
        # Every layer draws from a stream of its own, made anew: streams are counters
        # that a call advances, and equal keys would drop the same units twice.
        fresh = [
            jax.random.fold_in(key, i)
            if jnp.issubdtype(stream.dtype, jax.dtypes.prng_key)
            else jnp.zeros(stream.shape, stream.dtype)
            for i, stream in enumerate(streams)
        ]
        randomness = jax.tree.unflatten(structure, fresh)
        module = nnx.merge(self.training, parameters, statistics, randomness)
        for _, layer in nnx.iter_modules(module):
            if labelled is not None and isinstance(layer, BatchNorm):
                layer.average = average_over(labelled)
        outputs = module(x)
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    def evaluate(self, parameters: Any, statistics: Any, x: Any) -> Any:
        """Outputs in evaluation mode."""
        return nnx.merge(self.evaluation, parameters, statistics, self.randomness)(x)
