"""Any method on plain arrays: one update, with all that a step would hand it."""

import jax
import optax

import mtopt
from mtopt.evaluation import split


def evaluated(jacobian, losses, present=None, task_weights=None, key=None):
    """The evaluation of linear losses with exactly these values and gradients."""
    problem, params = mtopt.linear_problem(jacobian, losses, present, key)
    return problem.evaluate(params).replace(
        rows=jacobian,
        unchanged=True,
        losses=losses,
        present=problem.present,
        task_weights=task_weights,
        # Methods that look at the losses after the step are told one of length 0.01.
        after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    )


def linear_update(
    tx, state, jacobian, losses, *, present=None, task_weights=None, key=None
):
    """The direction of the shared parameters, and the new state."""
    seen = evaluated(jacobian, losses, present, task_weights, key)
    updates, state = optax.with_extra_args_support(tx).update(
        seen.gradients, state, seen.params, evaluation=seen
    )
    return split(updates)[0], state
