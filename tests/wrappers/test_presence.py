"""Weights that outlive their step, where the next has other tasks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.wrappers.shares import among, spread
from tests.helpers.arrays import linear_update
from tests.helpers.close import assert_close
from tests.helpers.methods import RULES, SOME, K, make

SCALED = {name for name, rule in RULES.items() if rule.reduction != "none"}
# Rows of MoCo are averages, which rest with their task; LDC's sum moves with the gaps.
STEADY = SCALED - {"moco", "ldc"}
SAME = np.tile(np.arange(1.0, 7.0), (K, 1))
WRAPPERS = {
    "held": functools.partial(mtopt.weights_every, n=5),
    "smoothed": functools.partial(mtopt.smoothed_weights, alpha=0.9),
    "both": lambda inner: mtopt.smoothed_weights(mtopt.weights_every(inner, n=3)),
}
RNG = np.random.default_rng(1)


def some_tasks(count):
    """Which of K tasks are present, of which each is in few batches, at least one."""
    drawn = RNG.random((count, K)) < 0.3
    drawn[np.arange(count), RNG.integers(0, K, count)] = True
    return drawn


def wrapped():
    """Both wrappers around a few methods, and each around mgda; the rest is slow."""
    for name, wrapper in itertools.product(sorted(STEADY), WRAPPERS):
        holds = RULES[name].gradients is not None
        if holds or wrapper == "smoothed":  # rows of its own making cannot be held
            often = wrapper == ("both" if holds else "smoothed") and name in SOME
            marks = [] if often or name == "mgda" else [pytest.mark.slow]
            yield pytest.param(name, wrapper, marks=marks)


@pytest.mark.parametrize(("name", "wrapper"), list(wrapped()))
def test_a_wrapper_keeps_the_scale_of_its_method_whoever_is_present(name, wrapper):
    inner = make(name, K)
    tx = WRAPPERS[wrapper](inner)
    rows, ones = jnp.asarray(SAME, jnp.float32), jnp.ones(K)
    _, params = mtopt.linear_problem(rows, ones)

    def both(states, here):
        updates, states = zip(
            *(
                linear_update(transform, state, rows, ones, present=here)
                for transform, state in zip((tx, inner), states, strict=True)
            ),
            strict=True,
        )
        return states, updates

    def scan(here):
        return jax.lax.scan(both, (tx.init(params), inner.init(params)), here)[1]

    wrapped, alone = jax.jit(scan)(some_tasks(60))
    assert_close(wrapped, alone, rtol=1e-4)


def test_an_outlier_alone_in_its_batch_is_still_one():
    """Four tasks of one line, one a batch in turn; the last has its sign turned."""
    names = ("a", "b", "c", "d")

    def head_loss(head, z, y, mask, key):
        return mtopt.masked_mean((z + head - y) ** 2, mask)

    tasks = mtopt.Tasks(names, lambda w, x, key: x @ w, head_loss)
    tx = mtopt.outlier_weighted(mtopt.equal_weighting(4), num_shared=20)
    x = jax.random.normal(jax.random.key(1), (16, 2))
    y = jnp.outer(jnp.array([1.0, 1, 1, -1]), x[:, 0])

    def update(carry, here):
        params, state = carry
        batch = mtopt.Batch(x, y, here[:, None] & jnp.ones(16, bool)[None], names)
        seen = tasks.problem(batch, jax.random.key(0)).evaluate(params)
        direction, state = tx.update(seen.gradients, state, params, evaluation=seen)
        params = jax.tree.map(lambda p, d: p - 0.1 * d, params, direction)
        found = direction["shared"], state.memory.task_weights
        return (params, state), found

    params = {"shared": jnp.zeros(2), "tasks": mtopt.PerTask(jnp.zeros(4), names)}
    one_a_batch = jnp.tile(jnp.eye(4, dtype=bool), (100, 1))
    scan = jax.jit(lambda carry: jax.lax.scan(update, carry, one_a_batch)[1])
    directions, trusted = scan((params, tx.init(params)))
    assert (trusted[200:, 3] == 0).all()
    assert (trusted[200:, :3] == 1).all()
    assert not np.asarray(directions)[200:][3::4].any()  # the outlier's batches


@pytest.mark.parametrize("reduction", ["mean", "sum", "share", "none"])
def test_what_is_spread_is_the_same_again_among_the_same_tasks(reduction):
    held = jnp.zeros(4)
    for here in some_tasks(8):
        weights = jnp.asarray(RNG.normal(size=4) * here, jnp.float32)
        held = spread(held, weights, jnp.asarray(here), reduction)
        assert_close(among(held, jnp.asarray(here), reduction), weights, rtol=1e-5)


def test_tasks_that_a_solve_left_at_zero_are_not_lost():
    everyone, two = jnp.ones(3, bool), jnp.array([False, True, True])
    held = spread(jnp.zeros(3), jnp.array([1.0, 0, 0]), everyone, "mean")
    assert_close(among(held, two, "mean"), jnp.array([0, 0.5, 0.5]), rtol=1e-6)
    held = spread(held, jnp.array([0.0, 0.25, 0.75]), two, "mean")
    assert_close(among(held, two, "mean"), jnp.array([0, 0.25, 0.75]), rtol=1e-5)
    assert_close(among(held, everyone, "mean"), jnp.array([1.0, 0, 0]), rtol=1e-5)
