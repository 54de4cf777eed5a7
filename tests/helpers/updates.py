"""One update of a method: on plain gradients, one row a task, or on a problem."""

import jax
import jax.numpy as jnp
import numpy as np

import mtopt

KEY = jax.random.key(3)
# Two conflicting gradients whose directions are published for many methods.
GOLDEN = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def solve(tx, jacobian, **known):
    """The first direction, as an array of NumPy, and the state after it."""
    jacobian = jax.device_put(jacobian)
    params = np.zeros(jacobian.shape[1:], jacobian.dtype)
    seen = mtopt.Evaluation(**known)
    update = jax.jit(tx.update)  # operation by operation, each is a program
    direction, state = update(jacobian, tx.init(params), params, evaluation=seen)
    return np.asarray(direction), state


def direction_and_weights(tx, jacobian, **known):
    """Of the first update."""
    direction, state = solve(tx, jacobian, **known)
    return direction, np.asarray(state.weights)


def update_on(tx, state, problem, params, key=KEY, **changes):
    """One update, with all that a step hands over."""
    known = {
        "key": key,
        "after": lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    }
    seen = problem.evaluate(params).replace(**{**known, **changes})
    return tx.update(seen.gradients, state, params, evaluation=seen)


def first_update_on(tx, problem, params, **extra):
    """The first update, compiled."""
    run = jax.jit(
        lambda params: update_on(tx, tx.init(params), problem, params, **extra)
    )
    return jax.tree.map(np.asarray, run(params))
