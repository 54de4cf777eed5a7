"""The average of the parameters: that of optax, for each task over its own batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.close import assert_close

DECAY, STEPS = 0.8, 6
GROUPS = {"pair": ("a", "c"), "alone": ("b",)}
PARAMS = {
    "shared": jnp.zeros((2, 3)),
    "tasks": {
        name: mtopt.PerTask(jnp.ones((len(names), size)), names)
        for size, (name, names) in enumerate(GROUPS.items(), start=2)
    },
}
PRESENT = np.ones((STEPS, 3), bool)
PRESENT[[0, 3, 4], 1] = False


def gradients():
    rng = np.random.default_rng(0)

    def rows(leaf):
        return rng.normal(size=(STEPS, *leaf.shape)).astype("float32")

    tasks = jax.tree.map(rows, PARAMS["tasks"])
    return {"shared": rows(np.zeros((3, 2, 3))), "tasks": tasks}


@functools.cache
def run(*behind):
    """All parameters, and the last state, of one program."""
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.adam(0.1), *behind)

    @jax.jit
    def scan(gradients):
        def step(carry, inputs):
            (params, state), (own, present) = carry, inputs
            known = mtopt.Evaluation(present=present)
            updates, state = tx.update(own, state, params, evaluation=known)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state)

        start = PARAMS, tx.init(PARAMS)
        return jax.lax.scan(step, start, (gradients, PRESENT))[1]

    return jax.device_get(scan(gradients()))


def ema(values):
    """Of optax, debiased."""
    tx = optax.ema(DECAY, debias=True)
    state = tx.init(values[0])
    for value in values:
        average, state = tx.update(jnp.asarray(value), state)
    return np.asarray(average)


def test_it_is_the_average_of_optax_for_each_task_over_its_own_batches():
    params, state = run(mtopt.average_parameters(DECAY))
    average = optax.tree.get(state, "averaged_params")
    assert_close(average["shared"][-1], ema(params["shared"]), rtol=1e-6)
    heads = [(group, name) for group, names in GROUPS.items() for name in names]
    for group, name in heads:
        k, place = "abc".index(name), GROUPS[group].index(name)
        seen = params["tasks"][group].values[PRESENT[:, k], place]
        found = average["tasks"][group].values[:, place]
        assert_close(found[-1], ema(seen), rtol=1e-6)
        # In a batch without the task it stands still, bit for bit.
        for t in np.flatnonzero(~PRESENT[1:, k]) + 1:
            np.testing.assert_array_equal(found[t], found[t - 1])
    np.testing.assert_array_equal(average["tasks"]["alone"].values[0], 1)


def test_training_goes_on_without_it():
    params, _ = run(mtopt.average_parameters(DECAY))
    jax.tree.map(np.testing.assert_array_equal, params, run()[0])


def test_what_stands_behind_it_counts():
    """Else it would be an average of parameters that never were."""
    params, state = run(mtopt.average_parameters(DECAY), optax.scale(0.5))
    average = optax.tree.get(state, "averaged_params")
    assert_close(average["shared"][-1], ema(params["shared"]), rtol=1e-6)


def test_a_decay_of_0_is_the_last_parameters():
    tx = mtopt.average_parameters(0.0)
    _, state = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
    twice = jax.tree.map(lambda leaf: 2 * leaf, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, state.averaged_params, twice)


def test_a_long_average_of_few_bits_moves():
    tx = mtopt.average_parameters(0.999)
    params = jnp.ones(2, jnp.bfloat16)
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(jnp.ones(2, jnp.bfloat16) * 2**-7, state, params)
    assert state.averaged_params.dtype == jnp.float32
    assert (state.averaged_params == 1 + 2**-7).all()


def test_a_state_is_evaluated_by_it_where_there_is_one():
    """In the precision of the parameters."""
    small = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    for behind, average in ((), None), ((mtopt.average_parameters(DECAY),), 1.0):
        tx = mtopt.chain(mtopt.equal_weighting(3), optax.sgd(0.1), *behind)
        state = mtopt.TrainState.create(small, tx, jax.random.key(0))
        found = state.evaluated_params
        assert jax.tree.map(jnp.result_type, found) == jax.tree.map(
            jnp.result_type, small
        )
        assert (found is state.params) == (average is None)


def test_it_needs_the_parameters_and_a_decay_below_1():
    tx = mtopt.average_parameters(0.9)
    with pytest.raises(mtopt.UserError, match=r"got no parameters: expected update"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    with pytest.raises(mtopt.UserError, match="decay is 1"):
        mtopt.average_parameters(1.0)
