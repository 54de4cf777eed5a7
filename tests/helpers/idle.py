"""What a method does where there is nothing to balance, measured, in words."""

import jax.numpy as jnp
import numpy as np

from tests.helpers.methods import D, K, method, rows, weights_of

# Often enough for averages over 50 steps to be there.
STEPS = 54
UNEQUAL = [np.linspace(1, 1 + step % 3 + step / STEPS, K) for step in range(STEPS)]


def after_all(name, losses):
    state = None
    for step, own in enumerate(losses):
        jacobian = rows(K, D, step % 3)
        known = jnp.asarray(own, "float32")
        direction, state = method(name)(jacobian, known, state=state)
    return direction, weights_of(state)


def cosine(a, b):
    return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)


def of_one_task(name):
    jacobian = np.asarray(rows(1, D))
    direction, _ = method(name, 1)(jacobian)
    if np.allclose(direction, jacobian[0], rtol=1e-4):
        return "one task: its gradient"
    return "one task: along its gradient"


def of_equal_losses(name):
    _, weights = after_all(name, [np.full(K, own.mean()) for own in UNEQUAL])
    _, others = after_all(name, UNEQUAL)
    if np.allclose(weights, others, rtol=1e-4, atol=1e-6):
        return "equal losses: as any others"
    if np.ptp(weights) <= 1e-4 * np.abs(weights).max():
        return "equal losses: equal weights"
    return "equal losses: weights of its own"


def of_a_zero_gradient(name):
    """One of K: a solved task, whose loss is 0 too."""
    jacobian, losses = rows(K, D).at[2].set(0.0), jnp.array([1.0, 2.0, 0.0, 4.0])
    others, _ = method(name)(jacobian, losses, np.arange(K) != 2)
    direction, _ = method(name)(jacobian, losses)
    if np.linalg.norm(direction) < 1e-4 * np.linalg.norm(others):
        return "a zero gradient: d = 0"
    if np.allclose(direction, others, rtol=1e-4, atol=1e-6):
        return "a zero gradient: left out"
    if cosine(direction, others) > 1 - 1e-5:
        return "a zero gradient: another length of d"
    return "a zero gradient: another d"


def of_no_gradient(name):
    direction, _ = method(name)(np.zeros((K, D)))
    return "all zero: d = 0" if not direction.any() else "all zero: another d"


def in_words(name):
    parts = (of_one_task, of_equal_losses, of_a_zero_gradient, of_no_gradient)
    return "; ".join(part(name) for part in parts)
