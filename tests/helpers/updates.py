"""One update of a method: on plain gradients, one row a task, or on a problem."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(3)
# Two conflicting gradients whose directions are published for many methods.
GOLDEN = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def solve(tx, jacobian, **extra):
    """The first direction, as an array of NumPy, and the state after it."""
    jacobian = jnp.asarray(jacobian)
    params = jnp.zeros(jacobian.shape[1:], jacobian.dtype)
    direction, state = tx.update(jacobian, tx.init(params), params, **extra)
    return np.asarray(direction), state


def direction_and_weights(tx, jacobian, **extra):
    """Of the first update."""
    direction, state = solve(tx, jacobian, **extra)
    return direction, np.asarray(state.weights)


def update_on(tx, state, problem, params, key=KEY, **extra):
    """One update, with all that a step hands over."""
    losses, grads = problem.losses_and_grads(params)
    known = {
        "rows": grads["shared"],
        "losses": losses,
        "present": problem.present,
        "pullback": functools.partial(problem.pullback, params),
        "problem": problem,
        "key": key,
        "after": lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    }
    return tx.update(grads, state, params, **{**known, **extra})


def first_update_on(tx, problem, params, **extra):
    """The first update, compiled."""
    run = jax.jit(
        lambda params: update_on(tx, tx.init(params), problem, params, **extra)
    )
    return jax.tree.map(np.asarray, run(params))
