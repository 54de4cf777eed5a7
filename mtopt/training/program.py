"""Programs: compiled init, step and predict, with the seeds on a leading axis."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.core import Tracer

from mtopt.batch import Batch
from mtopt.devices import Devices
from mtopt.errors import UserError
from mtopt.models.functional import Model
from mtopt.per_task import task_keys
from mtopt.step import TrainState, make_train_step
from mtopt.tasks import TaskGroups, Tasks
from mtopt.training.measured_gates import measured_gates
from mtopt.training.measured_step import RECORDED, measured_step


@runtime_checkable
class Trainable(Protocol):
    """The protocol of models that can be trained, as :class:`mtopt.models.Model`."""

    @property
    def tasks(self) -> Tasks | TaskGroups:
        """The model in training mode."""
        ...

    @property
    def init(self) -> Callable[[jax.Array], tuple[Any, Any]]:
        """``key -> (params, model_state)``."""
        ...

    @property
    def predict(self) -> Callable[[Any, Any, Any], Any]:
        """``(params, model_state, x) -> outputs`` in evaluation mode, one a group."""
        ...


def map_models(function: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """``jax.vmap``, but for an axis of one: that is dropped, and put back behind.

    A product of matrices with an axis of one in front is a product of stacks, which
    compilers have slower programs for.

    Args:
      function: of one model.
      in_axes: 0 or None for each argument, or a number for all.

    Example:
      >>> map_models(lambda w, x: w @ x, (0, None))(jnp.ones((1, 2)), jnp.ones(2))
      Array([2.], dtype=float32)
    """

    def mapped(*arguments: Any) -> Any:
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arguments)
        pairs = list(zip(arguments, axes, strict=True))
        stacked = [tree for tree, axis in pairs if axis == 0]
        if any(len(leaf) > 1 for leaf in jax.tree.leaves(stacked)):
            return jax.vmap(function, axes)(*arguments)
        alone = [
            tree if axis is None else jax.tree.map(lambda x: lax.squeeze(x, (0,)), tree)
            for tree, axis in pairs
        ]
        return jax.tree.map(lambda x: lax.expand_dims(x, (0,)), function(*alone))

    return mapped


class StepLosses(NamedTuple):
    """The losses of a step, and which of them there are.

    Attributes:
      values: ``[S, K]``, 0 for absent tasks.
      present: which tasks had a label in the batch, ``[S, K]``.
    """

    values: Any
    present: Any

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "StepLosses":
        """Those among the metrics of :func:`mtopt.make_train_step`."""
        return cls(metrics["losses"], metrics["present"])


class Program(NamedTuple):
    """Compiled functions over S seeds; a model per seed, or per seed and task.

    Attributes:
      init: ``keys [S] -> state``.
      step: ``(state, batch [S, ...]) -> (state, StepLosses)``; donates its state.
      predict: ``(params, model_state, x) -> outputs [S, K, B, ...]`` of the same ``x``
        for all seeds.
      models: ``(S,)`` if the tasks share a model, ``(S, K)`` if each has its own: the
        leading axes of every leaf of the state.
      on_nonfinite: what the step does with numbers that are not finite, as
        :func:`mtopt.make_train_step`; where it is ``"raise"``, training stops at the
        next record, where it is ``"stop"``, with the last model that has not stopped.
      everywhere: puts arrays where the step reads them, as a copy on every device.
      tasks: of the model, to be compared with those of a data set; None for any.
      measure: ``(state, batch) -> {name: [S, ...]}``, the diagnostics of the step that
        comes, as :data:`mtopt.training.measured_step.RECORDED`, and what gates do, as
        :func:`mtopt.training.measured_gates.measured_gates`; None where every task has
        a model of its own. It is compiled when it is called.
    """

    init: Callable[[jax.Array], TrainState]
    step: Callable[[TrainState, Batch], tuple[TrainState, StepLosses]]
    predict: Callable[[Any, Any, Any], jax.Array]
    models: tuple[int, ...]
    on_nonfinite: str | None = None
    everywhere: Callable[[Any], Any] = lambda tree: tree
    tasks: Tasks | TaskGroups | None = None
    measure: Callable[[TrainState, Batch], Mapping[str, Any]] | None = None


def shared_program(
    model: Trainable,
    tx: optax.GradientTransformation,
    num_seeds: int,
    *,
    on_nonfinite: str | None = None,
    micro_batches: int = 1,
    devices: Devices | None = None,
) -> Program:
    """Multi-task training: one model for all tasks, one replica per seed.

    Args:
      model: what is trained.
      tx: the chain.
      num_seeds: S.
      on_nonfinite: as :func:`mtopt.make_train_step`.
      micro_batches: as :func:`mtopt.make_train_step`.
      devices: that every replica runs on, all of them; the first one unless given.

    Raises:
      UserError: for a model of which something is frozen.
    """
    if getattr(model, "frozen", ()):
        raise UserError(
            "the model has frozen parameters, and a program starts with all of them "
            "anew: expected a loop with mtopt.TrainState.create(..., constants=...), "
            "or the model before mtopt.freeze or mtopt.merging.merged"
        )
    on = devices or Devices(model.tasks)
    of_step: Any = {"on_nonfinite": on_nonfinite, "micro_batches": micro_batches}
    train_step = on.run(make_train_step(model.tasks, tx, **of_step))
    beside = on.run(measured_step(model.tasks, tx, **of_step))
    of_gates = measured_gates(model, on)

    # One program: operation by operation, each of them would be compiled.
    @_jit_once
    @jax.vmap
    def create(params: Any, model_state: Any, key: jax.Array) -> TrainState:
        return on.place_state(TrainState.create(params, tx, key, model_state))

    def init(keys: jax.Array) -> TrainState:
        init_keys, run_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        params, model_state = _init(model)(init_keys)
        return create(params, model_state, run_keys)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepLosses]:
        state, metrics = train_step(state, batch)
        return state, StepLosses.of(metrics)

    def measure(state: TrainState, batch: Batch) -> Mapping[str, Any]:
        _, found = beside(state, batch)
        numbers = {name: getattr(found, name) for name in RECORDED}
        return {**numbers, **of_gates(state, batch)}

    return Program(
        init,
        jax.jit(map_models(step), donate_argnums=0),
        _predict(model, on),
        (num_seeds,),
        on_nonfinite=on_nonfinite,
        everywhere=on.everywhere,
        tasks=model.tasks,
        measure=jax.jit(map_models(measure)),
    )


def separate_program(
    model: Model,
    tx: optax.GradientTransformation,
    task_names: Sequence[str],
    num_seeds: int,
    *,
    on_nonfinite: str | None = None,
    micro_batches: int = 1,
    devices: Devices | None = None,
) -> Program:
    """Single-task baselines: a model per task, trained side by side on its own labels.

    Each of the K models sees the batches of the multi-task run, with the labels of its
    task alone, and takes the same step on a problem of one task; ``vmap`` runs all
    tasks and seeds as one program.

    Args:
      model: a model of one task.
      tx: the optimizer, after an aggregator of one task.
      task_names: the K tasks.
      num_seeds: S.
      on_nonfinite: as :func:`mtopt.make_train_step`.
      micro_batches: as :func:`mtopt.make_train_step`.
      devices: that every model runs on, all of them; the first one unless given.
    """
    inputs = model.tasks.x_axis
    one = shared_program(model, tx, len(task_names), devices=devices)
    over_tasks = Batch(inputs, 0, 0)  # pyright: ignore[reportArgumentType]
    on = devices or Devices(model.tasks)
    train_step = on.run(
        make_train_step(
            model.tasks, tx, on_nonfinite=on_nonfinite, micro_batches=micro_batches
        )
    )

    def init(keys: jax.Array) -> TrainState:
        own = jax.vmap(lambda key: task_keys(key, tuple(task_names)))(keys)
        state = one.init(own.reshape(-1))
        return jax.tree.map(
            lambda leaf: leaf.reshape(*own.shape, *leaf.shape[1:]), state
        )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepLosses]:
        x = batch.x if inputs is None else _lift(batch.x)
        single = Batch(x, _lift(batch.y), _lift(batch.mask))
        state, metrics = jax.vmap(train_step, in_axes=(0, over_tasks))(state, single)
        return state, jax.tree.map(lambda leaf: leaf[:, 0], StepLosses.of(metrics))

    predict = predict_one_by_one(on.predict(model.predict), inputs)
    return Program(
        init,
        jax.jit(map_models(step), donate_argnums=0),
        one_after_another(jax.jit(predict)),
        (num_seeds, len(task_names)),
        on_nonfinite=on_nonfinite,
        everywhere=on.everywhere,
    )


def predict_one_by_one(
    predict: Callable[[Any, Any, Any], Any], x_axis: int | None
) -> Callable[[Any, Any, Any], Any]:
    """Prediction by a model for each task, in place of one for all.

    Args:
      predict: ``(params, model_state, x) -> outputs [1, B, ...]`` of one task.
      x_axis: None for shared inputs, 0 for disjoint ones.

    Returns:
      The same of K models: every leaf of ``params`` and ``model_state`` has a leading
      axis of them, as have the outputs, ``[K, B, ...]``.
    """

    def of_all(params: Any, model_state: Any, x: Any) -> Any:
        x = x if x_axis is None else _lift(x)
        over = jax.vmap(predict, in_axes=(0, 0, x_axis))
        return over(params, model_state, x)[:, 0]

    return of_all


@functools.cache
def _init(model: Trainable) -> Callable[..., Any]:
    """Initialisation over keys, compiled once for all methods that train the model."""
    return _jit_once(jax.vmap(model.init))


def _jit_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """``jax.jit`` for a program that runs once, and is compiled longer than it runs.

    On a CPU it is left as it is written, which takes a quarter of the time.
    """
    compiled = jax.jit(function)
    as_written = jax.jit(
        function, compiler_options={"xla_backend_optimization_level": 0}
    )

    def run(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        # A program within another one has no options of its own.
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        alone = jax.default_backend() == "cpu" and not traced
        return (as_written if alone else compiled)(*arguments)

    return run


@functools.cache
def _predict(model: Trainable, devices: Devices) -> Callable[..., jax.Array]:
    """Prediction by S models, compiled once for all methods that train the model."""
    return one_after_another(jax.jit(devices.predict(model.predict)))


def one_after_another(predict: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """Prediction by S models in turn, so that each predicts what it does alone.

    One program for all of them would round otherwise than that of one model, which is
    what is left when it has been trained.

    Args:
      predict: ``(params, model_state, x) -> outputs`` of one model, compiled.

    Returns:
      The same of models whose leaves have a leading axis ``[S]``, as have the outputs.

    Example:
      >>> predict = one_after_another(jax.jit(lambda params, state, x: params * x))
      >>> predict(jnp.array([1.0, 2.0]), {}, jnp.ones(3)).tolist()
      [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """

    def of_all(params: Any, model_state: Any, x: Any) -> Any:
        count = len(jax.tree.leaves(params)[0])
        models = [_model((params, model_state), s) for s in range(count)]
        return _stacked([predict(own, state, x) for own, state in models])

    return of_all


@jax.jit
def _model(models: Any, index: Any) -> Any:
    """One of several, in one program."""
    return jax.tree.map(lambda leaf: leaf[index], models)


@jax.jit
def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _lift(tree: Any) -> Any:
    """Each task's entry as a stack of one task: ``[K, ...]`` to ``[K, 1, ...]``."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], tree)
