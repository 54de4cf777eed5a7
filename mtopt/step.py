"""The one training step, and the state it carries."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from mtopt.batch import Batch
from mtopt.problem import Params
from mtopt.tasks import TaskGroups, Tasks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a run carries from step to step, and a checkpoint stores.

    Fields are untyped because trees of shapes and stacks of seeds take this form too.

    Args:
      step: the number of steps done, int32.
      params: ``{"shared": tree, "tasks": PerTask}``.
      opt_state: the state of the optax chain: method, clipping, optimizer.
      model_state: BatchNorm statistics and their like; None or empty without any.
      key: the run's randomness, a typed key; step t uses ``fold_in(key, t)``.
    """

    step: Any
    params: Any
    opt_state: Any
    model_state: Any
    key: Any

    @classmethod
    def create(
        cls,
        params: Params,
        tx: optax.GradientTransformation,
        key: PRNGKeyArray,
        model_state: Any = None,
    ) -> "TrainState":
        """The state before the first step.

        It is a copy: the step donates its state, and the caller's parameters and key
        must outlive that.
        """
        step = jnp.zeros((), jnp.int32)
        state = cls(step, params, tx.init(params), model_state, key)
        return jax.tree.map(jnp.copy, state)


def make_train_step(
    tasks: Tasks | TaskGroups, tx: optax.GradientTransformation
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """The jitted step ``(state, batch) -> (state, metrics)`` of a whole method.

    The step never learns which method runs. It always writes down the per-task
    gradients; where the chain does not read them, the compiled program has no trace
    of them, and costs what ``jax.grad`` of the weighted loss costs.

    Args:
      tasks: the model, as :class:`mtopt.Tasks` or :class:`mtopt.TaskGroups`.
      tx: the chain: transformations of per-task gradients, one aggregator, then
        ordinary optax, e.g. ``mtopt.chain(mtopt.mgda(3), optax.adamw(1e-3))``.

    Returns:
      The step. It donates its state: keep using the one it returns. Metrics are
      ``losses [K]`` and ``present [K]`` in task order. For several seeds at once,
      ``jax.jit(jax.vmap(step))``.

    Example:
      >>> import mtopt
      >>> def encode(shared, x, key):
      ...     return x @ shared
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
      >>> params = {"shared": 0.1 * jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(jnp.ones((2, 4)), tasks.names)}
      >>> tx = mtopt.chain(mtopt.mgda(2), optax.sgd(0.05))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> step = make_train_step(tasks, tx)
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> for _ in range(3):
      ...     state, metrics = step(state, batch)
      >>> [round(float(loss), 3) for loss in metrics["losses"]]
      [0.197, 2.771]
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(
        state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.step)
        problem = tasks.problem(batch, key, state.model_state)
        evaluation = problem.evaluate(state.params)
        updates, opt_state = optax.with_extra_args_support(tx).update(
            evaluation.gradients, state.opt_state, state.params, evaluation=evaluation
        )
        return TrainState(
            state.step + 1,
            optax.apply_updates(state.params, updates),
            opt_state,
            problem.next_model_state(state.params),
            state.key,
        ), {"losses": evaluation.losses, "present": evaluation.present}

    return train_step
