"""Radii that half precision does not resolve: refused, and the least that it does."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.models import MODELS

NAMES = ("left", "right")
BATCH = jax.device_put(
    mtopt.Batch.shared(
        np.random.default_rng(0).normal(size=(64, 12, 12, 1)).astype(np.float32),
        {name: np.arange(64) * (2 + k) % 10 for k, name in enumerate(NAMES)},
    )
)


PLAIN = mtopt.per_task_sam(2, rho=0.0)


@functools.cache
def model(dtype):
    return MODELS["mlp"](
        (12, 12, 1), names=NAMES, kind="classification", outputs=10, dtype=dtype
    )


@functools.cache
def start():
    with jax.ensure_compile_time_eval():
        return jax.jit(model(jnp.float32).init)(jax.random.key(0))


def rows(transform, dtype, stored=jnp.float32):
    """What leaves it, as vectors."""
    params, state = start()
    params = jax.tree.map(lambda leaf: leaf.astype(stored), params)
    problem = model(dtype).tasks.problem(BATCH, jax.random.key(1), state)

    def update(params):
        seen = problem.evaluate(params)
        state = transform.init(params)
        found, _ = transform.update(seen.gradients, state, params, evaluation=seen)
        return found["shared"]

    return jax.jit(update)(params)


def vectors(tree):
    leaves = [np.reshape(leaf, (2, -1)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=1).astype(np.float64)


@pytest.mark.parametrize(
    ("tx", "name"),
    [
        (mtopt.flat_regions(mtopt.mgda(2), rho=0.0025), "rho is 0.0025"),
        (mtopt.per_task_sam(2, rho_shared=1.0, rho_task=0.001), "rho_task is 0.001"),
        (mtopt.sam(2, rho=0.0025), "rho is 0.0025"),
        (mtopt.per_task_sam(2, rho=0.1, adaptive=True), "rho is 0.1"),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "stored"), [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.bfloat16)]
)
def test_a_step_that_is_lost_in_the_rounding_is_refused(tx, name, dtype, stored):
    with pytest.raises(mtopt.UserError, match=f"{name}.*bfloat16.*at least"):
        jax.eval_shape(lambda: rows(tx, dtype, stored))


def test_the_least_that_is_named_is_resolved():
    with pytest.raises(mtopt.UserError) as refused:
        jax.eval_shape(lambda: rows(mtopt.per_task_sam(2, rho=1e-3), jnp.bfloat16))
    (least,) = re.findall(r"at least ([.0-9]+)", str(refused.value))
    sam = mtopt.per_task_sam(2, rho=float(least) * 1.01)

    def flat(dtype):
        clean = vectors(rows(PLAIN, dtype))
        return vectors(rows(sam, dtype)) - clean

    half, single = flat(jnp.bfloat16), flat(jnp.float32)
    cosines = (half * single).sum(1)
    cosines /= np.linalg.norm(half, axis=1) * np.linalg.norm(single, axis=1)
    assert (cosines > 0.85).all()


def test_a_radius_of_zero_and_single_precision_are_fine():
    jax.eval_shape(lambda: rows(PLAIN, jnp.bfloat16))
    jax.eval_shape(lambda: rows(mtopt.sam(2, rho=1e-4), jnp.float32))
