"""Methods in optax's own wrappers."""

import functools

import jax
import numpy as np
import optax

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close


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
