"""Random encoders, of products, sums and moves: without rows as with them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.linalg import combine, gramian
from tests.helpers.close import assert_close

WIDTH, SAMPLES, NAMES = 4, 3, ("a", "b", "c")
WEIGHTS = np.array([0.2, -1.0, 3.0])
TOGETHER = 20  # encoders in one compiled program


def draw(seed):
    """A random encoder of a few steps, and its parameters, some of them used twice."""
    rng = np.random.default_rng(seed)
    shared = list(rng.normal(size=(3, WIDTH, WIDTH)) / 2)
    steps = [
        (rng.choice(list(STEPS)), int(rng.integers(3)))
        for _ in range(rng.integers(2, 7))
    ]

    def encode(shared, x, key):
        for name, parameter in steps:
            x = STEPS[name](x, shared[parameter])
        return x

    return encode, shared


STEPS = {
    "product": lambda x, w: x @ w,
    "transposed": lambda x, w: x @ w.T,
    "first factor": lambda x, w: (w @ x.T).T,
    "reshaped": lambda x, w: x @ w.reshape(2, 2, WIDTH).reshape(WIDTH, WIDTH),
    "two axes": lambda x, w: jnp.einsum(
        "bij,ijo->bo", x.reshape(-1, 2, 2), w.reshape(2, 2, WIDTH)
    ),
    "compiled": lambda x, w: jax.jit(jnp.matmul)(x, w),
    "residual": lambda x, w: x + jnp.tanh(x @ w),
    "scaled": lambda x, w: x * w[0][None],
    "shifted": lambda x, w: x + w[1][None],
    "square": lambda x, w: x @ (w @ w),
    "over samples": lambda x, w: w[:SAMPLES, :SAMPLES] @ x,
    "tanh": lambda x, w: jnp.tanh(x),
    "reversed": lambda x, w: x[:, ::-1],
}


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean((jnp.tanh(z) @ head - y) ** 2, mask)


@functools.cache
def batch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(SAMPLES, WIDTH)), rng.normal(size=(3, SAMPLES))
    heads = mtopt.PerTask(rng.normal(size=(3, WIDTH)), NAMES)
    return mtopt.Batch(x, y, np.ones((3, SAMPLES), bool)), heads


def both(seed, shared):
    encode, _ = draw(seed)
    of_batch, heads = batch()
    tasks = mtopt.Tasks(NAMES, encode, head_loss, rows="never")
    problem = tasks.problem(of_batch, jax.random.key(0))
    params = {"shared": shared, "tasks": heads}
    rows = jax.jacrev(lambda shared: problem.losses({**params, "shared": shared}))(
        shared
    )
    found = problem.task_gradients(params)
    weights = jnp.asarray(WEIGHTS)
    written = problem.losses_and_grads(params)[1]["shared"]
    return (gramian(rows), combine(weights, rows), rows), (
        found.gramian(),
        found.combine(weights),
        written,
    )


def check(first, count):
    seeds = range(first, first + count)
    with jax.enable_x64(True):
        shared = [draw(seed)[1] for seed in seeds]
        found = jax.jit(lambda own: list(map(both, seeds, own)))(shared)
    for seed, (expected, own) in zip(seeds, found, strict=True):
        try:
            assert_close(own, expected, rtol=1e-12)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def test_twenty_encoders():
    check(0, TOGETHER)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(TOGETHER, 520, TOGETHER))
def test_five_hundred_encoders(first):
    check(first, TOGETHER)
