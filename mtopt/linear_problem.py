"""A problem from a Jacobian: every method on plain arrays."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.batch import Batch, masked_mean
from mtopt.per_task import PerTask
from mtopt.problem import Params
from mtopt.stacked_problem import StackedProblem
from mtopt.tasks import Tasks

SAMPLES = 6  # so that a method can split the batch in two or in three


def linear_problem(
    jacobian: Float[Array, "K D"],
    losses: Float[Array, " K"],
    present: Bool[Array, " K"] | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[StackedProblem, Params]:
    r"""Tasks whose losses are linear, with the given values and gradients.

    .. math:: L_k(\theta) = \ell_k + \langle g_k, \theta \rangle

    at :math:`\theta = 0`. Some methods ask the problem for more than rows: losses
    after the step, gradients of the representation, independent batches. This is the
    simplest problem that answers: every sample is alike, and the representation of
    each is :math:`\theta` itself.

    Args:
      jacobian: the K gradients.
      losses: the K values.
      present: which tasks have labels; None for all.
      key: the randomness of the step; None for always the same.

    Returns:
      The problem, and its parameters ``{"shared": zeros, "tasks": nothing}``.

    Example:
      MoDo, which draws three parts of a batch, on a matrix:

      >>> import mtopt
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> problem, params = linear_problem(jacobian, jnp.array([2., 3.]))
      >>> seen = problem.evaluate(params)
      >>> seen.losses.tolist(), seen.rows.tolist()
      ([2.0, 3.0], [[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
      >>> tx = mtopt.modo(2)
      >>> updates, _ = jax.jit(tx.update)(
      ...     seen.gradients, tx.init(params), params, evaluation=seen)
      >>> print(updates["shared"].round(3))
      [-4.  1.  1.]
    """
    num_tasks, size = jacobian.shape
    names = tuple(f"task_{k:04d}" for k in range(num_tasks))
    if present is None:
        present = jnp.ones(num_tasks, bool)

    def per_sample(leaf: Array) -> Array:
        lead = (num_tasks, SAMPLES)
        return jnp.broadcast_to(leaf[:, None], (*lead, *leaf.shape[1:]))

    batch = Batch(
        jnp.zeros(SAMPLES),
        {"gradient": per_sample(jacobian), "loss": per_sample(losses)},
        per_sample(present),
    )
    params = {
        "shared": jnp.zeros(size, jacobian.dtype),
        "tasks": PerTask(jnp.zeros((num_tasks, 1), jacobian.dtype), names),
    }
    tasks = Tasks(names, _encode, _head_loss)
    return tasks.problem(batch, jax.random.key(0) if key is None else key), params


def _encode(
    shared: Float[Array, " D"], x: Float[Array, " B"], key: PRNGKeyArray
) -> Float[Array, "B D"]:
    del key
    return jnp.broadcast_to(shared[None], (len(x), len(shared)))


def _head_loss(
    head: Any,
    z: Float[Array, "B D"],
    y: dict[str, Array],
    mask: Bool[Array, " B"],
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    del head, key
    return masked_mean(jnp.sum(z * y["gradient"], axis=1) + y["loss"], mask)
