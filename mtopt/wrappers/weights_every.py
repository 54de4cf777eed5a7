"""Lazy weights: solved for every n steps, and held in between."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from mtopt.aggregation import Aggregator, replaceable, rule_of
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import task_numbers
from mtopt.options import Integer
from mtopt.rule import Solution


class Held(NamedTuple):
    """The memory of :func:`weights_every`.

    Attributes:
      count: the number of updates so far, int32.
      weights_held: the weights of the last solve that every task was in, ``[K]``.
      inner: the memory of the wrapped rule.
    """

    count: Int[Array, ""]
    weights_held: Float[Array, " K"]
    inner: Any


def weights_every(
    aggregator: optax.GradientTransformation, *, n: Integer
) -> Aggregator:
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
      UserError: for an n below 1, a chain in place of an aggregator, one that sums rows
        of its own making, or one with weights for more than one sum.

    Example:
      >>> import mtopt
      >>> tx = weights_every(mtopt.mgda(2), n=2)
      >>> state = tx.init(jnp.zeros(2))
      >>> for rows in ([[2., 0.], [0., 1.]], [[1., 0.], [0., 3.]]):
      ...     direction, state = tx.update(jnp.array(rows), state)
      >>> [round(float(w), 3) for w in state.weights]
      [0.2, 0.8]
      >>> print(direction.round(3))
      [0.2 2.4]

    References:
      Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv 2202.01017.
    """
    expect_number("n", n, at_least=1)
    rule = rule_of(aggregator, "weights_every")
    rule = replaceable(rule, "weights_every", across_steps=True)
    gradients = rule.gradients
    assert gradients is not None

    def init(inner: Any, shared: Any) -> Held:
        held = task_numbers(shared, rule.num_tasks, 1 / rule.num_tasks)
        return Held(jnp.zeros((), jnp.int32), held, inner)

    def is_due(count: Int[Array, ""]) -> Bool[Array, ""]:
        return count % n == 0

    def solve(memory: Held, evaluation: Evaluation) -> Solution:
        def anew() -> tuple[Float[Array, " K"], Any]:
            weights, inner, _ = rule.solve(memory.inner, evaluation.recomputed())
            weights = weights.astype(memory.weights_held.dtype)
            return jnp.where(evaluation.present, weights, memory.weights_held), inner

        def as_before() -> tuple[Float[Array, " K"], Any]:
            return memory.weights_held, memory.inner

        held, inner = jax.lax.cond(is_due(memory.count), anew, as_before)
        weights = jnp.where(evaluation.present, held, 0)
        return Solution(
            weights, Held(memory.count + 1, held, inner), gradients(evaluation)
        )

    after_step = rule.after_step

    def follow(memory: Held, evaluation: Evaluation, step: Any) -> Held:
        def learn() -> Any:
            assert after_step is not None
            return after_step(memory.inner, evaluation, step)

        due = is_due(memory.count - 1)
        inner = jax.lax.cond(due, learn, lambda: memory.inner)
        return memory._replace(inner=inner)

    told = follow if after_step is not None else None
    return Aggregator(rule.remembering(init, solve, after_step=told))
