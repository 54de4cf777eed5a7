"""Small multi-task problems that several test files share."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt


def encode(shared, x, key):
    del key
    for layer in shared:
        x = jax.nn.relu(x @ layer["w"] + layer["b"][None])
    return x


def classify(head, z, y, mask, key):
    del key
    logits = z @ head["w"] + head["b"][None]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return mtopt.masked_mean(losses, mask)


def regress(head, z, y, mask, key):
    del key
    return mtopt.masked_mean((z @ head["v"] - y) ** 2, mask)


def tanh_encode(shared, x, key):
    """One layer, ``shared`` its matrix."""
    del key
    return jnp.tanh(x @ shared)


def squared_loss(head, z, y, mask, key):
    """A regression by one vector."""
    del key
    return mtopt.masked_mean((z @ head - y) ** 2, mask)


def names(num_tasks):
    return tuple(f"task_{k:03d}" for k in range(num_tasks))


# Drawn by NumPy, and put: every draw of JAX, and every jnp.asarray, is a program.
def mlp_params(task_names, inputs, hidden, classes, dtype=jnp.float32):
    rng, num_tasks = np.random.default_rng(0), len(task_names)
    widths = [inputs, *hidden]
    shared = [
        {"w": rng.normal(size=(m, n)) / m**0.5, "b": np.zeros(n)}
        for m, n in itertools.pairwise(widths)
    ]
    heads = {
        "w": 0.3 * rng.normal(size=(num_tasks, hidden[-1], classes)),
        "b": np.zeros((num_tasks, classes)),
    }
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, task_names)}
    return jax.device_put(jax.tree.map(lambda leaf: leaf.astype(dtype), params))


def classification(num_tasks, batch_size, inputs, hidden, classes, x_axis, missing=0.0):
    """An MLP on random labels: the tasks, parameters and one batch."""
    task_names = names(num_tasks)
    tasks = mtopt.Tasks(task_names, encode, classify, x_axis)
    rng = np.random.default_rng(1)
    lead = () if x_axis is None else (num_tasks,)
    batch = mtopt.Batch(
        rng.normal(size=(*lead, batch_size, inputs)),
        rng.integers(classes, size=(num_tasks, batch_size)),
        rng.uniform(size=(num_tasks, batch_size)) >= missing,
    )
    params = mlp_params(task_names, inputs, hidden, classes)
    return tasks, params, jax.device_put(batch)


def flops(function, *args):
    """What the compiler counts for one call, loops counted once."""
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


def solved_task(label=0.0):
    """Three regressions; the second has labels 0 and a head at zero, which is solved.

    Returns parameters and a batch for ``tanh_encode`` and ``squared_loss``.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 5)).astype("float32")
    y = np.stack([np.sin(x[:, 0]), np.full(16, label), np.sin(x[:, 1])])
    heads = 0.3 * rng.normal(size=(3, 4)) * [[1], [0], [1]]
    params = {
        "shared": jnp.asarray(0.3 * rng.normal(size=(5, 4)), jnp.float32),
        "tasks": mtopt.PerTask(jnp.asarray(heads, jnp.float32), names(3)),
    }
    return params, mtopt.Batch(x, y.astype("float32"), np.ones((3, 16), bool))
