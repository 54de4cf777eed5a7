"""Losses written by hand, task after task, and what a problem must share with them."""

import jax
import jax.numpy as jnp

from tests.helpers.close import assert_close


def at(tree, *index):
    """One entry of every array of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def plain(params):
    """The parameters with those of the tasks as a bare stack."""
    return {**params, "tasks": params["tasks"].values}


def assert_as_by_hand(problem, params, losses_of, *, rtol):
    """Losses, rows, and the gradient of each task's own parameters by its own loss.

    Args:
      problem: of the model.
      params: where to evaluate.
      losses_of: :func:`plain` parameters to losses ``[K]``.
      rtol: as of :func:`tests.helpers.close.assert_close`.
    """
    losses, grads = jax.jit(problem.losses_and_grads)(params)
    assert_close(losses, jax.jit(losses_of)(plain(params)), rtol=rtol)
    jacobian = jax.jit(jax.jacrev(losses_of))(plain(params))
    assert_close(grads["shared"], jacobian["shared"], rtol=rtol)
    own = jax.tree.map(lambda leaf: jnp.einsum("kk...->k...", leaf), jacobian["tasks"])
    assert_close(grads["tasks"].values, own, rtol=rtol)
