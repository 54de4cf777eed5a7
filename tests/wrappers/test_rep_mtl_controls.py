"""What Rep-MTL is measured against: the same tasks with other samples' saliencies."""

import functools

import jax
import numpy as np

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.rep_mtl import saliency_penalties, setting


@jax.jit
def directions(batch, key):
    """Without the penalties, with them, and shuffled: one program for all batches."""
    tasks, params, _ = setting("shared", np.float32)
    seen = tasks.problem(batch, key).evaluate(params)
    base = mtopt.equal_weighting(3)
    shuffled = saliency_penalties(base, control="shuffled")
    return [
        tx.update(seen.gradients, tx.init(params), params, evaluation=seen)[0]["shared"]
        for tx in (base, saliency_penalties(base), shuffled)
    ]


@functools.cache
def added(kind="apart", seed=0):
    """What the penalties add to the shared gradient, plain and shuffled, flat."""
    _, _, batch = setting("shared", np.float32)
    if kind == "equal samples":
        rows = [np.repeat(leaf[..., 2:3], 5, axis=-1) for leaf in (batch.y, batch.mask)]
        batch = mtopt.Batch(np.repeat(batch.x[2:3], 5, axis=0), *rows)
    found = directions(batch, jax.random.key(seed))
    base, *penalised = (np.concatenate([*map(np.ravel, d.values())]) for d in found)
    return [direction - base for direction in penalised]


def test_every_task_is_shuffled_in_its_own_way():
    """One order for all tasks would change nothing: both penalties are means."""
    plain, shuffled = added()
    assert np.linalg.norm(shuffled - plain) > 0.1 * np.linalg.norm(plain)


def test_shuffling_keeps_the_size_of_the_penalty():
    plain, shuffled = added()
    assert 1 / 3 < np.linalg.norm(shuffled) / np.linalg.norm(plain) < 3


def test_samples_that_are_equal_may_be_shuffled():
    plain, shuffled = added("equal samples")
    assert np.linalg.norm(plain) > 1e-3
    assert_close(shuffled, plain, rtol=1e-4)


def test_the_order_comes_from_the_key_of_the_step():
    (plain, shuffled), (same, other) = added(), added(seed=1)
    assert_close(same, plain, rtol=1e-6)
    assert np.linalg.norm(other - shuffled) > 0.1 * np.linalg.norm(shuffled)
