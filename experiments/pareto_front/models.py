"""Models that see a preference, and what trains them by it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import mtopt
from mtopt.batch import Batch
from mtopt.models import Model


def preferences_inside(count: int) -> Float[np.ndarray, "N 2"]:
    """Evenly spread preferences over two tasks, none of which is without weight.

    Example:
      >>> preferences_inside(3).tolist()
      [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    """
    first = np.arange(1, count + 1) / (count + 1)
    return np.stack([first, 1 - first], axis=1).astype(np.float32)


def with_preference(batch: Batch, preference: Float[Array, " K"]) -> Batch:
    """The batch whose inputs also hold one preference, repeated for every sample."""
    x = beside_preference(batch.x, preference, batch.mask.shape[1])
    return Batch(x, batch.y, batch.mask)


def beside_preference(
    x: Any, preference: Float[Array, " K"], num_samples: int
) -> dict[str, Any]:
    """The inputs of a model that may see one preference, repeated for every sample."""
    shape = (num_samples, *preference.shape)
    return {"inputs": x, "preference": jnp.broadcast_to(preference, shape)}


def by_preference(
    num_tasks: int, loss: Callable[..., Float[Array, ""]]
) -> optax.GradientTransformationExtraArgs:
    """Descends a scalarisation with the preference that the batch holds.

    Args:
      num_tasks: K, at least 1.
      loss: ``(losses, preference, present) -> scalar``; its gradient is the weights.
    """

    def weigh(memory: Any, seen: mtopt.Evaluation) -> tuple[Float[Array, " K"], Any]:
        problem: Any = seen.problem
        preference = problem.batch.x["preference"][0]
        return jax.grad(loss)(seen.losses, preference, seen.present), memory

    return mtopt.weighting(num_tasks, weigh, heads="weighted")


def unconditioned(model: Model) -> Model:
    """The model that overlooks the preference beside its inputs."""

    def encode(shared: Any, x: Any, *rest: Any) -> Any:
        return model.tasks.encode(shared, x["inputs"], *rest)

    def predict(params: Any, model_state: Any, x: Any) -> Array:
        return model.predict(params, model_state, x["inputs"])

    tasks = dataclasses.replace(model.tasks, encode=encode)
    return Model(tasks, model.init, predict)


def conditioned(model: Model) -> Model:
    """The model with an encoder per task, mixed by the preference of the batch.

    ``params["shared"]`` is K encoders stacked, each from a start of its own.
    """
    plain = unconditioned(model)

    def mixed(shared: Any, x: Any) -> Any:
        weights = x["preference"][0]
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), shared)

    def init(key: Array) -> tuple[Any, Any]:
        keys = jax.random.split(key, len(model.tasks.names))
        params, model_state = jax.vmap(model.init)(keys)
        heads, model_state = jax.tree.map(
            lambda leaf: leaf[0], (params["tasks"], model_state)
        )
        return {"shared": params["shared"], "tasks": heads}, model_state

    def encode(shared: Any, x: Any, *rest: Any) -> Any:
        return plain.tasks.encode(mixed(shared, x), x, *rest)

    def predict(params: Any, model_state: Any, x: Any) -> Array:
        here = {**params, "shared": mixed(params["shared"], x)}
        return plain.predict(here, model_state, x)

    return Model(dataclasses.replace(model.tasks, encode=encode), init, predict)
