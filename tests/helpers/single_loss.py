"""SAM of one loss, written out."""

import jax
import jax.numpy as jnp
import optax


def single_loss_sam(adaptive, rho, loss, params):
    """SAM or ASAM of one loss as in their papers."""
    gradient = jax.grad(loss)(params)
    size = jax.tree.map(lambda p: jnp.abs(p) if adaptive else jnp.ones_like(p), params)
    measured = jax.tree.map(jnp.multiply, size, gradient)
    length = optax.tree.norm(measured)
    worst = jax.tree.map(
        lambda p, s, m: p + rho * s * m / length, params, size, measured
    )
    return jax.grad(loss)(worst)
