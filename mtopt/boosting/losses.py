"""The losses of boosting: squared error, and cross-entropy for two or K classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num


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


def log_odds(
    targets: Float[Array, "K N"],
    task: Int[Array, " N"],
    weights: Float[Array, " N"],
    num_tasks: int,
    num_classes: int,
) -> Float[Array, "S K"]:
    """The constant scores of least loss of each task, and last of all rows together.

    Log-odds of class 1 of two, or the logarithms of the classes' shares. A class that a
    task has no row of counts as half of one of its rows, so that all are finite.

    Args:
      targets: 0 and 1, or one-hot classes.
      task: of every row, in 0..T-1.
      weights: of the rows.
      num_tasks: T.
      num_classes: at least 2.

    Returns:
      ``[T + 1, K]``, one score a row of two classes, K otherwise.
    """
    classes = jnp.stack([1 - targets[0], targets[0]]) if num_classes == 2 else targets

    def per_task(values: Float[Array, " N"]) -> Float[Array, " S"]:
        found = jax.ops.segment_sum(values, task, num_tasks)
        return jnp.append(found, found.sum())

    counts = jax.vmap(per_task)(weights[None] * classes)
    rows = per_task((weights > 0).astype(weights.dtype))
    half = 0.5 * counts.sum(axis=0) / jnp.maximum(rows, 1)
    logs = jnp.log(jnp.maximum(counts, half[None]))
    if num_classes == 2:
        return (logs[1] - logs[0])[:, None]
    return jax.nn.log_softmax(logs, axis=0).T
