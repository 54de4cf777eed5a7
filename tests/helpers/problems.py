"""Small multi-task problems that several test files share."""

import jax
import jax.numpy as jnp
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


def names(num_tasks):
    return tuple(f"task_{k:03d}" for k in range(num_tasks))


def mlp_params(task_names, inputs, hidden, classes, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), len(hidden) + 1)
    widths = [inputs, *hidden]
    shared = [
        {"w": jax.random.normal(k, (m, n), dtype) / m**0.5, "b": jnp.zeros(n, dtype)}
        for k, m, n in zip(keys[1:], widths, widths[1:], strict=False)
    ]
    num_tasks = len(task_names)
    weights = jax.random.normal(keys[0], (num_tasks, hidden[-1], classes), dtype)
    heads = {"w": 0.3 * weights, "b": jnp.zeros((num_tasks, classes), dtype)}
    return {"shared": shared, "tasks": mtopt.PerTask(heads, task_names)}


def classification(num_tasks, batch_size, inputs, hidden, classes, x_axis, missing=0.0):
    """An MLP on random labels: the tasks, parameters and one batch."""
    task_names = names(num_tasks)
    tasks = mtopt.Tasks(task_names, encode, classify, x_axis)
    keys = jax.random.split(jax.random.key(1), 3)
    lead = () if x_axis is None else (num_tasks,)
    batch = mtopt.Batch(
        jax.random.normal(keys[0], (*lead, batch_size, inputs)),
        jax.random.randint(keys[1], (num_tasks, batch_size), 0, classes),
        jax.random.uniform(keys[2], (num_tasks, batch_size)) >= missing,
    )
    return tasks, mlp_params(task_names, inputs, hidden, classes), batch


def flops(function, *args):
    """What the compiler counts for one call, loops counted once."""
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]
