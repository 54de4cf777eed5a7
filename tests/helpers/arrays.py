"""Any method on plain arrays: one update, with all that a step would hand it."""

import jax
import jax.numpy as jnp
import optax

import mtopt
from mtopt.evaluation import split


def evaluated(jacobian, losses, present=None, task_weights=None, key=None):
    """The evaluation of linear losses with exactly these values and gradients."""
    problem, params = mtopt.linear_problem(jacobian, losses, present, key)
    return problem.evaluate(params).replace(
        rows=jacobian,
        # So that an update of theirs is what the head rule made of a gradient of 1.
        heads=jax.tree.map(jnp.ones_like, params["tasks"]),
        unchanged=True,
        losses=losses,
        present=problem.present,
        task_weights=task_weights,
        # Methods that look at the losses after the step are told one of length 0.01.
        after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    )


def linear_updates(
    tx, state, jacobian, losses, *, present=None, task_weights=None, key=None
):
    """The updates of the shared parameters and of the heads, and the new state."""
    seen = evaluated(jacobian, losses, present, task_weights, key)
    return optax.with_extra_args_support(tx).update(
        seen.gradients, state, seen.params, evaluation=seen
    )


def linear_update(*arguments, **known):
    """The direction of the shared parameters, and the new state."""
    updates, state = linear_updates(*arguments, **known)
    return split(updates)[0], state
