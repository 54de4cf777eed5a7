"""Methods in optax's own wrappers."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close


def test_trees_of_transformations_keep_them_as_they_are():
    """As Equinox makes of a function's arguments, and ``jax.vmap`` of shared ones."""
    chain, aggregator = mtopt.chain(mtopt.mgda(2), optax.sgd(0.1)), mtopt.mgda(2)
    for tx in (chain, aggregator, mtopt.sam(2)):
        assert jax.tree.map(lambda leaf: leaf, {"tx": tx})["tx"] is tx
        assert jax.tree.leaves(tx) == []
    rows = jnp.stack([jnp.eye(2)] * 3)

    def update(tx, rows):
        return tx.update(rows, tx.init(rows[0]), rows[0])[0]

    for tx in (chain, aggregator):
        expected = update(tx, rows[0])
        found = jax.vmap(update, in_axes=(None, 0))(tx, rows)
        assert_close(found, np.stack([expected] * 3), rtol=1e-6)
        assert_close(eqx.filter_jit(update)(tx, rows[0]), expected, rtol=1e-6)


def test_hyperparameters_can_be_injected_and_optimizers_wrapped():
    tasks, params, batch = problems.classification(3, 16, 5, (7,), 4, None)
    plain = mtopt.chain(mtopt.mgda(3), optax.adam(0.01))
    injected = mtopt.chain(
        mtopt.mgda(3), optax.inject_hyperparams(optax.adam)(learning_rate=0.01)
    )
    named = optax.named_chain(("method", mtopt.mgda(3)), ("adam", optax.adam(0.01)))
    results = []
    for tx in (plain, injected, named):
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        step = mtopt.make_train_step(tasks, tx)
        for _ in range(3):
            state, _ = step(state, batch)
        results.append(state.params)
        assert optax.tree.get(state.opt_state, "weights").shape == (3,)
    # An injected learning rate is a traced number, which XLA rounds differently.
    close = functools.partial(assert_close, rtol=1e-4)
    jax.tree.map(close, results[0], results[1])
    jax.tree.map(np.testing.assert_array_equal, results[0], results[2])
