"""Loops of one's own: an epoch as one scan, rows added up by hand, values, lbfgs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.methods import FEW, make, over

K = 3
NAMES = problems.names(K)
TASKS = mtopt.Tasks(NAMES, problems.tanh_encode, problems.squared_loss)
KEY = jax.random.key(0)


@functools.cache
def start():
    """Parameters, and four batches of eight samples."""
    rng = np.random.default_rng(0)
    shared, heads = rng.normal(size=(5, 4)), rng.normal(size=(K, 4))
    params = {
        "shared": jnp.asarray(0.3 * shared, jnp.float32),
        "tasks": mtopt.PerTask(jnp.asarray(heads, jnp.float32), NAMES),
    }
    x = rng.normal(size=(4, 8, 5)).astype("float32")
    y = {name: np.sin(x[:, :, k]) for k, name in enumerate(NAMES)}
    return jax.device_put((params, x, y))


def test_an_epoch_is_one_scan():
    """With batches made inside of it, and with batches that are its inputs."""
    params, x, y = start()
    tx = mtopt.chain(mtopt.mgda(K), optax.adam(1e-2))
    step = mtopt.make_train_step(TASKS, tx, donate=False)

    def inside(state, inputs):
        return step(state, mtopt.Batch.shared(*inputs))

    labels = jnp.stack([*y.values()], 1)
    stacked = mtopt.Batch(x, labels, jnp.ones((4, K, 8), bool))
    state = mtopt.TrainState.create(params, tx, KEY)
    ends = [
        jax.jit(functools.partial(jax.lax.scan, body))(state, inputs)[0].params
        for body, inputs in ((inside, (x, y)), (step, stacked))
    ]
    for t in range(4):
        own = {name: values[t] for name, values in y.items()}
        state, _ = step(state, mtopt.Batch.shared(x[t], own))
    for end in ends:
        assert_close(end, state.params, rtol=1e-5)


def test_rows_added_up_by_hand_are_those_of_the_whole_batch():
    params, x, y = start()
    tx = mtopt.chain(mtopt.mgda(K), optax.sgd(1.0))

    def gradients(x, y):
        problem = TASKS.problem(mtopt.Batch.shared(x, y), KEY)
        return problem.losses_and_grads(params)[1]

    @jax.jit
    def both():
        parts = jax.vmap(gradients)(x, y)
        mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), parts)
        whole = gradients(
            x.reshape(32, 5), {name: v.reshape(32) for name, v in y.items()}
        )
        return [tx.update(own, tx.init(params), params)[0] for own in (mean, whole)]

    by_hand, at_once = both()
    assert_close(by_hand, at_once, rtol=1e-5)


@over(mtopt.METHODS, slow=set(mtopt.METHODS) - FEW)
def test_every_method_leaves_the_value_to_what_follows(name):
    """Of a plateau, here: other keywords than the evaluation go down the chain."""
    params, x, y = start()
    tx = mtopt.chain(make(name, K), optax.adam(1e-2), optax.contrib.reduce_on_plateau())
    batch = mtopt.Batch.shared(x[0], {name: values[0] for name, values in y.items()})

    def update(state):
        seen = TASKS.problem(batch, KEY).evaluate(params)
        value = seen.losses.mean()
        return tx.update(seen.gradients, state, params, evaluation=seen, value=value)

    state = jax.eval_shape(tx.init, params)
    updates, after = jax.eval_shape(update, state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)


def test_lbfgs_searches_along_the_direction_of_an_aggregator():
    params, x, y = start()
    batch = mtopt.Batch.shared(x[0], {name: values[0] for name, values in y.items()})
    tx = mtopt.chain(mtopt.equal_weighting(K), optax.lbfgs())
    problem = TASKS.problem(batch, KEY)

    def total(params, evaluation=None):
        del evaluation
        return problem.losses(params).mean()

    def step(carry, _):
        params, state = carry
        seen = problem.evaluate(params)
        value, grad = jax.value_and_grad(total)(params)
        known = {"evaluation": seen, "value": value, "grad": grad, "value_fn": total}
        updates, state = tx.update(seen.gradients, state, params, **known)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=15)[1])
    values = run((params, tx.init(params)))
    assert values[-1] < 0.2 * values[0]
