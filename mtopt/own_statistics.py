"""Running statistics of every task, and what they make of a task that has none."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError
from mtopt.linalg import combine, divide_or_zero, where_present


class OwnStatistics(NamedTuple):
    """Running statistics of every task, as the state of a model.

    A problem counts the labels; ``encode`` gets one task's entry, and moves its values.

    Attributes:
      values: the statistics, leaves ``[K, ...]``.
      labels: the labelled samples that each task was trained on so far, float32
        ``[K]``; 0 for a task that has no statistics.
    """

    values: Any
    labels: Float[Array, " K"]


def in_evaluation(model_state: Any, num_tasks: int) -> OwnStatistics:
    r"""What each task is normalised by in evaluation.

    A task that training had keeps its own statistics. One that it did not have takes
    the moments of the mixture of the others,

    .. math::
       \mu = \sum_k p_k \mu_k, \qquad
       \sigma^2 = \sum_k p_k \big( \sigma_k^2 + (\mu_k - \mu)^2 \big), \qquad
       p_k = \frac{n_k}{\sum_j n_j}

    with :math:`n_k` the labelled samples of task k: the law of total variance.

    Args:
      model_state: :class:`OwnStatistics`, or pooled ones, without the task axis.
      num_tasks: K.

    Example:
      >>> norm = {"mean": jnp.array([0., 4., 9.]), "var": jnp.ones(3)}
      >>> seen = in_evaluation(OwnStatistics(norm, jnp.array([3., 1., 0.])), 3)
      >>> seen.values["mean"].tolist(), seen.values["var"].tolist()
      ([0.0, 4.0, 1.0], [1.0, 1.0, 4.0])
    """
    if not isinstance(model_state, OwnStatistics):
        spread = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (num_tasks, *leaf.shape)), model_state
        )
        return OwnStatistics(spread, jnp.ones(num_tasks))
    values, labels = model_state
    shares = divide_or_zero(labels, labels.sum())
    return OwnStatistics(_filled(values, labels > 0, shares), labels)


def _filled(values: Any, known: Bool[Array, " K"], shares: Float[Array, " K"]) -> Any:
    """The mixture in place of what is not known; statistics of other kinds stay."""
    if not isinstance(values, dict):
        return values
    filled = {name: _filled(own, known, shares) for name, own in values.items()}
    if {"mean", "var"} <= values.keys():
        mean, var = values["mean"], values["var"]
        centre = combine(shares, mean)
        spread = combine(shares, var + (mean - centre[None]) ** 2)
        some = known | ~known.any()
        filled["mean"] = where_present(some, mean, jnp.broadcast_to(centre, mean.shape))
        filled["var"] = where_present(some, var, jnp.broadcast_to(spread, var.shape))
    return filled


def check_states(model_state: Any, num_tasks: int) -> None:
    """Raises unless every task has a state of its own.

    So it is with inputs of their own, and where the encoder depends on the task.

    Args:
      model_state: leaves ``[K, ...]``.
      num_tasks: K.

    Raises:
      UserError: naming the array that has another leading axis.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(model_state):
        if jnp.shape(leaf)[:1] != (num_tasks,):
            raise UserError(
                f"model_state{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}: "
                f"expected a leading axis of the {num_tasks} tasks, each with "
                "statistics of its own"
            )
