"""The losses of boosting: squared error, and cross-entropy for two or K classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def encode(
    targets: Num[Array, " N"] | Num[Array, "N O"], num_classes: int | None
) -> Float[Array, "K N"]:
    """Targets as one row an output: numbers, 0 and 1, or one-hot classes."""
    if num_classes is None:
        dtype = jnp.promote_types(targets.dtype, jnp.float32)
        return targets.reshape(len(targets), -1).T.astype(dtype)
    dtype = jnp.zeros(()).dtype
    if num_classes == 2:
        return targets[None].astype(dtype)
    return jax.nn.one_hot(targets, num_classes, axis=0, dtype=dtype)


def residual(
    targets: Float[Array, "K N"], scores: Float[Array, "K N"], num_classes: int | None
) -> Float[Array, "K N"]:
    """The negative gradient of the loss with respect to the scores."""
    if num_classes is None:
        return targets - scores
    if num_classes == 2:
        return targets - jax.nn.sigmoid(scores)
    return targets - jax.nn.softmax(scores, axis=0)


def loss(
    targets: Float[Array, "K N"], scores: Float[Array, "K N"], num_classes: int | None
) -> Float[Array, " N"]:
    """Half the squared error, or the cross entropy in nats, of every row."""
    if num_classes is None:
        return 0.5 * ((targets - scores) ** 2).sum(axis=0)
    if num_classes == 2:
        return (jax.nn.softplus(scores) - targets * scores).sum(axis=0)
    return -(targets * jax.nn.log_softmax(scores, axis=0)).sum(axis=0)


def step_factor(num_classes: int | None) -> int:
    """The factor on leaf values besides the learning rate.

    Two logits F_0 and F_1 move by -r and r: their difference, the one logit, by 2 r.
    """
    return 2 if num_classes == 2 else 1
