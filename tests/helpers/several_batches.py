"""Quadratic tasks on batches that a method splits, and their gradients by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import mtopt

K, D, BATCH = 3, 4, 6


def encode(shared, x, key):
    del key
    return x * shared[None]


def head_loss(head, z, y, mask, key):
    """Quadratic, so that a step changes gradients; the head's own part is not nil."""
    del key
    along = jnp.sum(z * y["direction"], axis=1)
    errors = (along + jnp.sum(head) - y["target"]) ** 2
    return mtopt.masked_mean(errors, mask)


TASKS = mtopt.Tasks(("a", "b", "c"), encode, head_loss)


def data(seed=0):
    """One batch as plain float64 arrays, and the parameters."""
    rng = np.random.default_rng(seed)
    x, direction = rng.normal(size=(BATCH, D)), rng.normal(size=(K, D))
    target, mask = rng.normal(size=(K, BATCH)), np.ones((K, BATCH), bool)
    return x, direction, target, mask, rng.normal(size=D), rng.normal(size=(K, 1))


def problem_on(x, direction, target, mask):
    """The tasks on this batch."""
    labels = {
        "direction": jnp.broadcast_to(direction[:, None], (K, BATCH, D)),
        "target": target,
    }
    return TASKS.problem(mtopt.Batch(x, labels, mask), jax.random.key(0))


def step(tx, state, x, direction, target, mask, shared, heads):
    """One update of the method on this batch."""
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, TASKS.names)}
    problem = problem_on(x, direction, target, mask)
    seen = problem.evaluate(params)
    updates, state = tx.update(seen.gradients, state, params, evaluation=seen)
    return updates, state, seen.gradients


def run(tx, batches):
    """Directions and weights on these batches, in float64, and the last gradients."""
    with jax.enable_x64(True):
        shared, heads = (jnp.asarray(array) for array in batches[0][4:])
        state = tx.init({"shared": shared, "tasks": mtopt.PerTask(heads, TASKS.names)})
        compiled = jax.jit(functools.partial(step, tx))
        out = []
        for batch in batches:
            updates, state, grads = compiled(state, *map(jnp.asarray, batch))
            out.append((updates, np.asarray(state.weights), grads))
        return out


def loss_and_grads(part, theta, heads, k):
    """One task by hand: its loss and its gradients, shared and own."""
    x, direction, target, mask = part
    real = mask[k]
    if not real.any():
        return 0.0, np.zeros(D), np.zeros(1)
    error = (x * theta) @ direction[k] + heads[k].sum() - target[k]
    error, inputs = error[real], x[real]
    shared = 2 * np.mean(error[:, None] * inputs * direction[k], axis=0)
    return np.mean(error**2), shared, np.array([2 * np.mean(error)])


def parts_of(batch, number):
    """The parts that the methods get, as arrays; tests/contracts/test_deal.py."""
    x, direction, target, mask, *_ = batch
    with jax.enable_x64(True):
        found = _split(number)(*map(jnp.asarray, (x, direction, target, mask)))
    return [
        (np.asarray(x), direction, np.asarray(target), np.asarray(mask))
        for x, target, mask in found
    ]


@functools.cache
def _split(number):
    """One program for all batches."""

    def split(*batch):
        parts = (part.batch for part in problem_on(*batch).split(number))
        return [(part.x, part.y["target"], part.mask) for part in parts]

    return jax.jit(split)


def jacobian(part, theta, heads):
    return np.stack([loss_and_grads(part, theta, heads, k)[1] for k in range(K)])


def three_batches(rare=None):
    batches = []
    for seed in range(3):
        *batch, shared, heads = data(seed)
        if rare is not None and seed == 1:
            batch[3][rare, 2:] = False  # fewer labels than parts
        _, _, _, _, shared, heads = data(0)
        batches.append((*batch, shared, heads))
    return batches


def look_ahead(batch, weights, eta):
    """Both halves, and the inner products of their gradients: validation by training.

    Heads are part of what moves, and of the products of a task with itself.
    """
    train, validation = parts_of(batch, 2)
    theta, heads = batch[4:]
    here = [loss_and_grads(train, theta, heads, k) for k in range(K)]
    ahead = theta - eta * sum(w * g for w, (_, g, _) in zip(weights, here, strict=True))
    own = np.stack([heads[k] - eta * weights[k] * here[k][2] for k in range(K)])
    there = [loss_and_grads(validation, ahead, own, k) for k in range(K)]
    products = np.array(
        [
            [there[i][1] @ here[k][1] + (i == k) * (there[i][2] @ here[k][2])]
            for i in range(K)
            for k in range(K)
        ]
    ).reshape(K, K)
    return products, np.array([loss for loss, *_ in there])


class Adam:
    """Moments and a clock for every task."""

    def __init__(self, rate):
        self.rate, self.m, self.v, self.t = rate, np.zeros(K), np.zeros(K), 0

    def step(self, slope):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * slope
        self.v = 0.999 * self.v + 0.001 * slope**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return -self.rate * m / (np.sqrt(v) + 1e-8)
