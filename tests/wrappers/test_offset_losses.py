"""Losses below zero: which methods cannot take them, and an offset that makes them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.arrays import linear_update
from tests.helpers.close import assert_close
from tests.helpers.methods import (
    FEW,
    FROM_ZERO,
    D,
    K,
    make,
    method,
    over,
    rows,
    weights_of,
)

LOSSES = [np.linspace(0.5, 2, K) * scale for scale in (1, 0.8, 0.5)]
OFFSET = np.array([-5.0, -4.0, -8.0, -2.5])


def three_steps(update, state, losses):
    for seed, own in enumerate(losses):
        direction, state = update(state, rows(K, D, seed), jnp.asarray(own, "float32"))
    return np.asarray(direction), weights_of(state)


def plain(name, losses):
    def update(state, jacobian, own):
        return method(name)(jacobian, own, state=state)

    return three_steps(update, method(name).init, losses)


@over(FROM_ZERO, slow=FROM_ZERO - FEW - {"gradnorm"})
def test_an_offset_gives_a_method_the_losses_that_it_takes(name):
    tx = mtopt.offset_losses(make(name, K), offset=OFFSET)
    _, params = mtopt.linear_problem(jnp.zeros((K, D)), jnp.ones(K))

    @jax.jit
    def update(state, jacobian, losses):
        # Also at the point that FAMO looks at, and in parts of the batch.
        return linear_update(tx, state, jacobian, losses)

    negative = [losses + OFFSET for losses in LOSSES]
    assert max(own.max() for own in negative) < 0
    found = three_steps(update, tx.init(params), negative)
    assert_close(found, plain(name, LOSSES), rtol=1e-4)


def test_a_learned_variance_trains_below_zero():
    """Two Gaussian likelihoods whose losses end near -2 and -1 nats."""

    def encode(shared, x, key):
        del key
        return x @ shared

    def head_loss(head, z, y, mask, key):
        del key
        errors = z @ head["v"] - y
        each = 0.5 * errors**2 * jnp.exp(-2 * head["log_sigma"]) + head["log_sigma"]
        return mtopt.masked_mean(each, mask)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    y = {
        name: x[:, k] + spread * rng.normal(size=64)
        for k, (name, spread) in enumerate({"a": 0.05, "b": 0.2}.items())
    }
    batch = mtopt.Batch.shared(x.astype("float32"), y)
    tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
    heads = {"v": jnp.eye(2, 3), "log_sigma": jnp.zeros(2)}
    params = {
        "shared": jnp.asarray(rng.normal(size=(3, 3)), jnp.float32),
        "tasks": mtopt.PerTask(heads, tasks.names),
    }

    def trained(aggregator):
        tx = mtopt.chain(aggregator, optax.adam(2e-2))
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        step = mtopt.make_train_step(tasks, tx)
        for _ in range(500):
            state, metrics = step(state, batch)
        return np.asarray(metrics["losses"]), weights_of(state.opt_state)

    below, weights = trained(mtopt.offset_losses(mtopt.gradnorm(2), offset=-5))
    assert (below < [-2, -0.8]).all()
    assert weights.min() > 0


@pytest.mark.parametrize("offset", [(1.0,), float("nan"), (1.0, float("inf"))])
def test_an_offset_is_one_number_or_one_for_each_task(offset):
    with pytest.raises(mtopt.UserError, match="offset is"):
        mtopt.offset_losses(mtopt.gradnorm(2), offset=offset)
