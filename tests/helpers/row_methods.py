"""Steps with an absent task, and a method's directions on them in float64."""

import jax
import jax.numpy as jnp
import numpy as np

K, D, STEPS = 3, 4, 5


def batches(seed=0):
    """Rows, losses and who is present over a few steps; task 1 leaves and returns."""
    rng = np.random.default_rng(seed)
    present = np.ones((STEPS, K), bool)
    present[1:3, 1] = False
    rows = rng.normal(size=(STEPS, K, D)) + 0.4
    return rows * present[..., None], rng.uniform(0.5, 3, size=(STEPS, K)), present


def run(tx, steps=None):
    """Directions and weights over the steps, in float64."""
    with jax.enable_x64(True):
        state = tx.init(jnp.zeros(D))
        update = jax.jit(tx.update)
        out = []
        for rows, losses, present in zip(*(steps or batches()), strict=True):
            direction, state = update(
                jnp.asarray(rows),
                state,
                losses=jnp.asarray(losses),
                present=jnp.asarray(present),
            )
            out.append((np.asarray(direction), np.asarray(state.weights)))
        return out


def assert_follows(tx, reference, steps=None):
    """The method's directions are those of the algorithm, step by step."""
    for (direction, _), expected in zip(run(tx, steps), reference, strict=True):
        np.testing.assert_allclose(direction, expected, rtol=1e-6, atol=1e-9)
