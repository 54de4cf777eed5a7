"""Models whose errors at every look are planted, and a step that only counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.data import ArraySplit, Dataset
from mtopt.models import Model

TASKS = ("a", "b")
EVERY, LOOKS = 4, 10


@functools.cache
def data():
    """Targets are 0: an output is an error."""

    def split():
        zeros = np.zeros((2, 8), np.float32)
        return ArraySplit(mtopt.Batch(zeros.T, zeros, zeros == 0, TASKS), None)

    return Dataset("d", TASKS, "regression", 1, None, split(), split(), split())


def planted(names):
    """Parameters are the errors at all looks, drawn anew for each seed and task."""

    def init(key):
        errors = jax.random.uniform(key, (len(names), LOOKS + 1))
        # The draw of a task's own model is for that task.
        return {
            "shared": {"errors": errors, "at": jnp.zeros(())},
            "tasks": mtopt.PerTask(jnp.zeros((len(names), 1)), names),
        }, {}

    def encode(shared, x, key):
        del key
        return x[:, :1] * shared["at"] + 0 * shared["errors"].sum()

    def head_loss(head, z, y, mask, key):
        del key
        return mtopt.masked_mean((z @ head - y) ** 2, mask)

    def predict(params, model_state, x):
        del model_state
        look = jnp.int32(params["shared"]["at"]) // EVERY
        errors = params["shared"]["errors"][:, look]
        return jnp.broadcast_to(errors[:, None], (len(names), len(x)))

    return Model(mtopt.Tasks(names, encode, head_loss), init, predict)


def counting(doom=None):
    """An optimizer that counts steps in ``at``; behind ``doom`` they are infinite."""

    def update(updates, state, params):
        at = params["shared"]["at"]
        step = jnp.ones(()) if doom is None else jnp.where(at >= doom, jnp.inf, 1.0)
        zeros = jax.tree.map(jnp.zeros_like, updates)
        return zeros | {"shared": zeros["shared"] | {"at": step}}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
