"""A problem from a Jacobian: every method on plain arrays."""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.aggregation import split
from mtopt.batch import Batch, masked_mean
from mtopt.per_task import PerTask
from mtopt.problem import Params, StackedProblem
from mtopt.tasks import Tasks

SAMPLES = 6  # so that a method can split the batch in two or in three


def linear_problem(
    jacobian: Float[Array, "K D"],
    losses: Float[Array, " K"],
    present: Bool[Array, " K"] | None = None,
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

    Returns:
      The problem, and its parameters ``{"shared": zeros, "tasks": nothing}``.

    Example:
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> problem, params = linear_problem(jacobian, jnp.array([2., 3.]))
      >>> losses, grads = problem.losses_and_grads(params)
      >>> losses.tolist(), grads["shared"].tolist()
      ([2.0, 3.0], [[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    """
    num_tasks, size = jacobian.shape
    names = tuple(f"task_{k:04d}" for k in range(num_tasks))
    if present is None:
        present = jnp.ones(num_tasks, bool)

    def per_sample(leaf):
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
    return tasks.problem(batch, jax.random.key(0)), params


def linear_update(
    tx: optax.GradientTransformation,
    state: optax.OptState,
    jacobian: Float[Array, "K D"],
    losses: Float[Array, " K"],
    *,
    present: Bool[Array, " K"] | None = None,
    task_weights: Float[Array, " K"] | None = None,
    key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, " D"], optax.OptState]:
    """One update of any method on a Jacobian, with all that a step would hand it.

    Methods that look at the losses after the step are told one of length 0.01.

    Args:
      tx: the method.
      state: its state, at first ``tx.init(params)`` with those of
        :func:`linear_problem`.
      jacobian: the K gradients.
      losses: the K losses.
      present: which tasks have labels; None for all.
      task_weights: what multiplies the method's weights; None for ones.
      key: the randomness of the step; None for always the same.

    Returns:
      The direction, and the new state.

    Example:
      >>> import mtopt
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> losses = jnp.array([2., 3.])
      >>> tx = mtopt.equal_weighting(2)
      >>> state = tx.init(linear_problem(jacobian, losses)[1])
      >>> direction, state = linear_update(tx, state, jacobian, losses)
      >>> print(direction.round(3))
      [1. 1. 1.]
    """
    problem, params = linear_problem(jacobian, losses, present)
    updates, state = optax.with_extra_args_support(tx).update(
        {"shared": jacobian, "tasks": jax.tree.map(jnp.zeros_like, params["tasks"])},
        state,
        params,
        rows=jacobian,
        losses=jnp.where(problem.present, losses, 0),
        present=problem.present,
        task_weights=task_weights,
        pullback=functools.partial(problem.pullback, params),
        problem=problem,
        key=jax.random.key(0) if key is None else key,
        after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    )
    return split(updates)[0], state


def _encode(shared, x, key):
    del key
    return jnp.broadcast_to(shared[None], (len(x), len(shared)))


def _head_loss(head, z, y, mask, key):
    del head, key
    return masked_mean(jnp.sum(z * y["gradient"], axis=1) + y["loss"], mask)
