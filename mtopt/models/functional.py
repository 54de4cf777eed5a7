"""A multi-task model of two NNX modules, as functions of plain trees."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from mtopt.batch import masked_mean
from mtopt.errors import UserError, expect_one_of
from mtopt.floats import bare
from mtopt.models.heads import (
    PAIRED,
    check_kind,
    label_losses,
    label_mask,
    predictions,
)
from mtopt.models.pairs import pairs
from mtopt.models.pure import Factory, Pure
from mtopt.models.told import HEAD, OWN, Told
from mtopt.own_statistics import OwnStatistics, in_evaluation
from mtopt.per_task import PerTask, task_keys
from mtopt.pixels import PIXELS
from mtopt.problem import Params
from mtopt.task import Task
from mtopt.tasks import Tasks


class Mixtures(NamedTuple):
    """What the gates of a model weigh, and what they weigh it of.

    Attributes:
      weights: of each gate, by the place of its module, such as ``head`` or
        ``encoder.gate``: what task k gives expert e on sample b, ``[K, B, E]``.
      experts: what the encoder hands to the heads as ``"experts"``, ``[B, E, ...]``, or
        ``[K, b, E, ...]`` with disjoint inputs; None where it hands none.
    """

    weights: dict[str, Float[Array, "K B E"]]
    experts: Float[Array, "..."] | None


@dataclasses.dataclass(frozen=True)
class Model:
    """A multi-task model as functions of plain trees; made by :func:`functional`.

    Args:
      tasks: the model in training mode, for :func:`mtopt.make_train_step`.
      init: ``key -> (params, model_state)``: ``{"shared": dict, "tasks": PerTask}``
        and the BatchNorm statistics, an empty dict without any; those of each task are
        :class:`mtopt.OwnStatistics`. Pure: it can be jitted, and mapped over the
        keys of several seeds.
      predict: ``(params, model_state, x) -> predictions`` in evaluation mode (running
        statistics, no dropout), float32 ``[K, B, ...]``: of each task what
        :func:`mtopt.models.heads.predictions` says for its kind. Disjoint inputs are
        ``[K, b, ...]``, as in training.
      mixtures: ``(params, model_state, x) -> Mixtures``, what its gates weigh the
        experts by, in evaluation mode, for :func:`mtopt.analysis.gates`; None for a
        model without a gate.
      among: the tasks that the encoder has places for; more than those of ``tasks``
        behind :func:`mtopt.models.some_tasks`.
      encode_frozen: ``paths -> encode`` of ``tasks`` in which modules run as in
        evaluation if all of their parameters are at these paths; None for a model that
        cannot be told.
      frozen: the paths that it has been told.
    """

    tasks: Tasks
    init: Callable[[PRNGKeyArray], tuple[Params, Any]]
    predict: Callable[[Params, Any, Any], Float[Array, "K B ..."]]
    mixtures: Callable[[Params, Any, Any], Mixtures] | None = None
    among: tuple[str, ...] = ()
    encode_frozen: Callable[[Sequence[str]], Callable[..., Any]] | None = None
    frozen: tuple[str, ...] = ()

    def frozen_at(self, paths: Sequence[str]) -> "Model":
        """This model, of whose encoder some parameters are frozen.

        Args:
          paths: theirs, as :func:`mtopt.freeze` finds them.

        Raises:
          UserError: where it cannot be told, and keeps statistics of batches.
        """
        known = tuple(sorted({*self.frozen, *paths}))
        tasks = self.tasks
        if self.encode_frozen is not None:
            tasks = dataclasses.replace(tasks, encode=self.encode_frozen(known))
        elif tasks.stateful:
            raise UserError(cannot_be_told(self))
        return dataclasses.replace(self, tasks=tasks, frozen=known)


def cannot_be_told(model: Any) -> str:
    """What is said of a model that cannot be told what is frozen."""
    return (
        f"this {type(model).__name__} keeps statistics of batches, and cannot be told "
        "which of its modules are frozen: expected one of mtopt.models.functional"
    )


def functional(
    encoder: Factory,
    head: Factory,
    names: tuple[str, ...],
    *,
    kind: str,
    x_axis: int | None = None,
    statistics: str = "own",
    per_task: bool = False,
    own: Factory | None = None,
) -> Model:
    """A model of K equal heads on one encoder, from two NNX modules.

    The modules are ordinary: dropout draws from the ``rngs`` they were made with
    (reseeded in every step with the step's key), BatchNorm keeps its statistics in
    ``nnx.BatchStat`` (take :class:`mtopt.models.layers.BatchNorm`, which costs no
    second forward pass). Outside of ``mtopt.models.pure`` only plain trees are seen.

    In training BatchNorm uses the statistics of the labelled samples of the batch, for
    disjoint inputs of each task's own sub-batch; padding has no part in them. The
    running statistics move once per step, by one clean forward pass, whatever points a
    method evaluates; with disjoint inputs every task that is present moves its own,
    which normalise its inputs in evaluation as its batches did in training. A task that
    training did not have takes the moments of the mixture of those it had; see
    :func:`mtopt.own_statistics.in_evaluation`.

    With pooled statistics all tasks are normalised by the moments of the labelled
    samples of all, in training as in evaluation. A task's loss then depends on the
    inputs of every task, and its gradient is a backward pass through all of them.

    An encoder that depends on the task is told it with ``per_task``. What is before
    ``task`` is used runs once, whatever the number of tasks, and a parameter that two
    losses reach is the encoder's, even one that ``task.index`` picks. Running
    statistics are then kept for every task, since those of what depends on it differ.

    Args:
      encoder: makes the shared part, ``x -> representation``; ``(x, task) ->
        representation`` with ``per_task``.
      head: makes the part of one task, ``representation -> outputs [b, C]``.
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`. Of
        ``preference`` the modules are of one input, and ``x`` has pairs of them,
        leaves ``[B, 2, ...]``; see :func:`mtopt.models.pairs.pairs`. The head of
        ordinal labels with C levels has C - 1 outputs; see
        :mod:`mtopt.models.ordinal`.
      x_axis: None for shared inputs, 0 for disjoint ones; see :class:`mtopt.Tasks`.
      statistics: whose batches normalise a task with inputs of its own: ``"own"``, or
        ``"pooled"``, those of all tasks. On shared inputs there is one batch.
      per_task: True for an encoder that gets the task as a :class:`mtopt.Task`, its
        ``index`` and its ``own`` module, made by ``own``.
      own: makes what each task has to itself below its representation, such as gates
        on the inputs or experts; any NNX module, also with dropout and BatchNorm. Its
        parameters are the task's, ``params["tasks"]["own"]``, beside ``["head"]``.

    Returns:
      The model. The head of a task starts from ``fold_in(key, crc32(name))``, so that
      it does not depend on which other tasks there are.

    Raises:
      UserError: for an unknown kind or other ``statistics``, names out of order, a
        module with arrays that are neither parameters, statistics nor randomness,
        pooled statistics of another BatchNorm than mtopt's or beside ``per_task``, or
        ``own`` without ``per_task``.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> from flax import nnx
      >>> model = functional(
      ...     lambda rngs: nnx.Linear(3, 4, rngs=rngs),
      ...     lambda rngs: nnx.Linear(4, 2, rngs=rngs),
      ...     ("left", "right"), kind="classification")
      >>> params, model_state = jax.jit(model.init)(jax.random.key(0))
      >>> params["shared"]["kernel"].shape, params["tasks"].values["kernel"].shape
      ((3, 4), (2, 4, 2))
      >>> jax.jit(model.predict)(params, model_state, jnp.ones((5, 3))).shape
      (2, 5, 2)
      >>> batch = mtopt.Batch.shared(
      ...     jnp.ones((1, 3)), {"left": jnp.array([0]), "right": jnp.array([1])})
      >>> model.tasks.problem(batch, jax.random.key(1)).losses(params).shape
      (2,)
    """
    check_kind(kind)
    expect_one_of("statistics", statistics, ("own", "pooled"))
    if own is not None and not per_task:
        raise UserError(
            "own modules of an encoder that is not told its task: expected "
            "per_task=True, and an encoder that takes (x, task)"
        )
    if per_task and statistics == "pooled":
        raise UserError(
            "statistics='pooled' with per_task=True: what depends on the task has "
            "statistics of each; expected statistics='own'"
        )
    if kind in PAIRED:
        encoder, head = pairs(encoder, head)
    branch = Pure.of(head)
    if branch.stateful:
        raise UserError(
            "the head keeps BatchNorm statistics: expected them in the encoder alone; "
            "use nnx.LayerNorm in heads"
        )

    def made(frozen: Sequence[str]) -> Pure | Told:
        untold = Pure.of(encoder, frozen)
        if not per_task:
            return untold
        return Told(untold, None if own is None else Pure.of(own), names)

    trunk = made(())
    stateful = trunk.stateful
    pooled = stateful and x_axis is not None and statistics == "pooled"
    if pooled:
        assert isinstance(trunk, Pure)  # what is told its task has its own
        trunk.expect_own_batch_norm()
    each = stateful and (per_task or x_axis is not None) and not pooled

    def encoding(trunk: Pure | Told) -> Callable[..., Any]:
        def encode(shared: Any, x: Any, key: PRNGKeyArray, *rest: Any) -> Any:
            model_state: Any = rest[0] if stateful else {}
            labelled = rest[1] if stateful else None
            values = model_state.values if each else model_state
            told = rest[-1:] if per_task else ()
            outputs, moved = trunk.train(shared, values, x, key, labelled, *told)
            if not stateful:
                return outputs
            return outputs, model_state._replace(values=moved) if each else moved

        def encode_pooled(
            shared: Any,
            x: Any,
            key: PRNGKeyArray,
            model_state: Any,
            labelled: Bool[Array, "K b"],
        ) -> tuple[Any, Any]:
            assert isinstance(trunk, Pure)
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), x)
            outputs, moved = trunk.train(
                shared, model_state, flat, key, labelled.reshape(-1)
            )
            return jax.tree.map(
                lambda leaf: leaf.reshape(*labelled.shape, *leaf.shape[1:]), outputs
            ), moved

        return encode_pooled if pooled else encode

    def above(parameters: Any) -> Any:
        return parameters if own is None else parameters[HEAD]

    def head_loss(
        parameters: Any,
        representation: Any,
        targets: Num[Array, "b ..."],
        mask: Bool[Array, " b"] | Float[Array, " b"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        outputs, _ = branch.train(above(parameters), {}, representation, key)
        losses = label_losses(predictions(outputs, kind), targets, kind)
        return masked_mean(losses, label_mask(targets, mask, kind))

    def init(key: PRNGKeyArray) -> tuple[Params, Any]:
        trunk_key, branch_key = jax.random.split(key)
        heads, _ = jax.vmap(branch.init)(task_keys(branch_key, names))
        if isinstance(trunk, Told):
            own_key = jax.random.fold_in(branch_key, 0)
            shared, below, values = trunk.init(trunk_key, own_key)
            heads = heads if own is None else {OWN: below, HEAD: heads}
        else:
            shared, values = trunk.init(trunk_key)
            values = in_evaluation(values, len(names)).values if each else values
        model_state = OwnStatistics(values, jnp.zeros(len(names))) if each else values
        return {"shared": shared, "tasks": PerTask(heads, names)}, model_state

    def predict_one(parameters: Any, representation: Any) -> Float[Array, "b ..."]:
        outputs = branch.evaluate(above(parameters), {}, bare(representation))
        return predictions(outputs, kind)

    def through(
        encode_all: Callable[..., Any], params: Params, model_state: Any, x: Any
    ) -> Any:
        count = len(params["tasks"].names)
        told: tuple[Task, ...] = ()
        if per_task:
            own_names, values = params["tasks"].names, params["tasks"].values
            places = jnp.array([names.index(name) for name in own_names])
            told = (Task(places, values),)
        if tasks.z_axis is not None:
            model_state = in_evaluation(model_state, count).values
            in_axes = (None, 0, x_axis, *(0,) * len(told))
            encode_all = jax.vmap(encode_all, in_axes)
        return encode_all(params["shared"], model_state, x, *told)

    def predict(params: Params, model_state: Any, x: Any) -> Float[Array, "K b ..."]:
        representation = through(trunk.evaluate, params, model_state, x)
        over_tasks = jax.vmap(predict_one, in_axes=(0, tasks.z_axis))
        return over_tasks(params["tasks"].values, representation)

    def weigh_one(parameters: Any, representation: Any) -> dict[str, Any]:
        return branch.observe(above(parameters), {}, bare(representation))[1]

    def mixtures(params: Params, model_state: Any, x: Any) -> Mixtures:
        representation, below = through(trunk.observe, params, model_state, x)
        own, count = params["tasks"].values, len(params["tasks"].names)
        if tasks.z_axis is None:  # one gate for all tasks
            below = {
                place: jnp.broadcast_to(weights, (count, *weights.shape))
                for place, weights in below.items()
            }
        heads = jax.vmap(weigh_one, in_axes=(0, tasks.z_axis))(own, representation)
        weights = {_place("encoder", place): found for place, found in below.items()}
        weights |= {_place("head", place): found for place, found in heads.items()}
        mixed = isinstance(representation, dict)
        return Mixtures(weights, representation.get("experts") if mixed else None)

    tasks = Tasks(
        names,
        encoding(trunk),
        head_loss,
        x_axis=x_axis,
        stateful=stateful,
        coupled=pooled,
        per_task=per_task,
        kind=kind,
        label_mask=functools.partial(label_mask, kind=kind) if kind in PIXELS else None,
    )

    def encode_frozen(frozen: Sequence[str]) -> Callable[..., Any]:
        return encoding(made(frozen))

    gated = trunk.gated or branch.gated
    # One program: op by op, stacked modules would compile for each of their layers.
    gates = mixtures if gated else None
    return Model(tasks, jax.jit(init), predict, gates, names, encode_frozen)


def _place(part: str, place: str) -> str:
    """The place of a module in the whole model."""
    return f"{part}.{place}" if place else part
