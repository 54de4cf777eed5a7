"""Weights that outlive their step, where the next has other tasks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.wrappers.shares import among, spread
from tests.helpers.arrays import linear_update
from tests.helpers.close import assert_close
from tests.helpers.methods import FEW, K, make, method, over, weights_of

REDUCTIONS = {name: make(name, K).rule.reduction for name in mtopt.METHODS}
SCALED = {name for name, reduction in REDUCTIONS.items() if reduction != "none"}
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


@over(SCALED)
def test_the_scale_of_the_weights_hangs_on_the_tasks_as_the_rule_says(name):
    sizes = []
    for count in (4, 3, 1):
        here = np.arange(K) < count
        _, state = method(name)(SAME * here[:, None], jnp.ones(K), present=here)
        sizes.append(weights_of(state)[here].sum())
    counts = np.ones(3) if REDUCTIONS[name] == "mean" else np.array([4, 3, 1])
    assert_close(sizes / counts, sizes[0] / counts[0] * np.ones_like(counts), rtol=1e-4)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@over(STEADY, slow=STEADY - FEW - {"mgda"})
def test_a_wrapper_keeps_the_scale_of_its_method_whoever_is_present(name, wrapper):
    inner = make(name, K)
    if wrapper != "smoothed" and inner.rule.gradients is None:
        pytest.skip("rows of its own making cannot be held")
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


def test_an_adversary_alone_in_its_batch_is_still_one():
    rows = jnp.array([[1.0, 0.1, 0], [1, 0, 0.1], [1, -0.1, 0], [-1, 0, 0]])
    tx = mtopt.outlier_weighted(mtopt.equal_weighting(4), num_shared=20)

    def update(state, here):
        seen = mtopt.Evaluation(losses=jnp.ones(4), present=here)
        direction, state = tx.update(rows, state, evaluation=seen)
        return state, (direction, state.memory.task_weights)

    one_a_batch = jnp.tile(jnp.eye(4, dtype=bool), (200, 1))
    _, (directions, trusted) = jax.lax.scan(update, tx.init(rows[0]), one_a_batch)
    assert (trusted[400:, 3] < 0.1).all()
    assert (trusted[400:, :3] > 0.9).all()
    assert not np.asarray(directions)[400:][3::4].any()  # the adversary's batches
    assert_close(directions[400:][0::4], jnp.tile(rows[0], (100, 1)), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
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
