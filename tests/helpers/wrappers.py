"""Steps on plain gradients and on a small model, for wrappers and transformations."""

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from tests.helpers import problems
from tests.helpers.compilations import compiled_once

ROWS = jnp.array([[1.0, 2.0, 0.0, 1.0], [-1.0, 0.5, 4.0, 0.0], [0.2, 0.0, 0.1, 0.3]])


LOSSES = jnp.array([2.0, 0.5, 4.0])


PARAMS = jnp.zeros(4)


def steps(tx, stacks, **extra):
    """The directions and weights of one update after another."""
    state = tx.init(PARAMS)
    update = jax.jit(tx.update)
    found = []
    for k, rows in enumerate(stacks):
        own = mtopt.Evaluation(**{name: each[k] for name, each in extra.items()})
        direction, state = update(rows, state, PARAMS, evaluation=own)
        found.append((np.asarray(direction), np.asarray(state.weights)))
    return found


def model(**options):
    return problems.classification(3, 6, 5, (7,), 4, None, **options)


def train(tx, batches, tasks, params):
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = compiled_once(mtopt.make_train_step(tasks, tx))
    for batch in batches:
        state, metrics = step(state, batch)
    return state, metrics


def averages(num_tasks):
    """An aggregator with rows of its own making: unit rows, equal weights."""

    def reduce(memory, evaluation):
        return jnp.ones(num_tasks), jax.tree.map(jnp.sign, evaluation.rows), memory

    return mtopt.row_weighting(num_tasks, reduce, heads="plain")


STACKS = [ROWS, ROWS[::-1], ROWS * jnp.array([[5.0], [1.0], [0.1]])]
