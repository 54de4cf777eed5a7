"""Solve for the weights every n steps, and keep them in between."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mtopt.aggregation import present_tasks, same_rows, split, weights_of
from mtopt.errors import expect
from mtopt.wrappers.wrapped import init_wrapped


class HeldState(NamedTuple):
    """State of :func:`weights_every`.

    Attributes:
      count: the number of updates so far, int32.
      held: the weights of the last solve that every task was in, ``[K]``.
      aggregator: the state of the wrapped one.
    """

    count: Int[Array, ""]
    held: Float[Array, " K"]
    aggregator: Any


def weights_every(
    aggregator: optax.GradientTransformationExtraArgs, *, n: int
) -> optax.GradientTransformationExtraArgs:
    r"""Solves for the weights every n steps, and applies them until the next solve.

    .. math:: d^t = \sum_k w^{\tau}_k g^t_k, \qquad
              \tau = n \lfloor t / n \rfloor

    The solve stands in a branch of the compiled step, together with the K backward
    passes that only it needs. A step in between costs what equal weighting costs: one
    backward pass of the weighted loss. The solve itself costs one forward and one
    backward pass more than it does without this wrapper.

    Args:
      aggregator: one that weighs the gradients. Its memory rests between the solves.
      n: at least 1, in steps. Nash-MTL calls it ``update_weights_every``, and its paper
        tries 1 to 50.

    Returns:
      An aggregator. A task that is absent from the batch of a solve keeps the weight it
      had. The branch is real in a step of one seed; under ``vmap`` over seeds all of it
      runs in every step. A transformation of rows before this one is not skipped.

    Raises:
      UserError: for an n below 1, or where a chain is wrapped (on init), or one
        that sums rows of its own making (on update).

    Example:
      >>> import mtopt
      >>> tx = weights_every(mtopt.mgda(2), n=2)
      >>> state = tx.init(jnp.zeros(2))
      >>> for rows in ([[2., 0.], [0., 1.]], [[1., 0.], [0., 3.]]):
      ...     direction, state = tx.update(jnp.array(rows), state)
      >>> [round(float(w), 3) for w in optax.tree.get(state, "weights")]
      [0.2, 0.8]
      >>> print(direction.round(3))
      [0.2 2.4]

    References:
      Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv 2202.01017.
    """
    expect(n >= 1, "n", n, "a number of steps, at least 1")

    def init(params):
        inner, held = init_wrapped(aggregator, params)
        return HeldState(jnp.zeros((), jnp.int32), held, inner)

    def update(
        updates,
        state,
        params=None,
        *,
        weights=None,
        reweigh=None,
        rows=None,
        present=None,
        **extra,
    ):
        problem = extra.get("problem")
        present = present_tasks(state.held.shape[0], present, problem)
        extra["present"] = present

        def solve():
            own, clean = updates, rows
            if problem is not None and same_rows(split(updates)[0], rows):
                own = problem.losses_and_grads(params)[1]
                clean = own["shared"]
            return aggregator.update(
                own, state.aggregator, params, rows=clean, **extra
            )[1]

        count, held, inner = state
        if weights is None:
            due = count % n == 0
            inner = jax.lax.cond(due, solve, lambda: state.aggregator)
            held = jnp.where(due & present, weights_of(inner), held)
            weights = held if reweigh is None else reweigh(held)
            count = count + 1
        direction, applied = aggregator.update(
            updates, inner, params, rows=rows, weights=weights, **extra
        )
        inner = optax.tree.set(inner, weights=weights_of(applied))
        return direction, HeldState(count, held, inner)

    return optax.GradientTransformationExtraArgs(init, update)
