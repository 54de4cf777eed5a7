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
from mtopt.wrappers.shares import among, spread


class Held(NamedTuple):
    """The memory of :func:`weights_every`.

    Attributes:
      count: the number of updates so far, int32.
      solved: whether the last of them solved.
      seen: which tasks were in a solve so far, ``[K]``.
      weights_held: what every task holds since the last solve that it was in, ``[K]``.
      inner: the memory of the wrapped rule.
    """

    count: Int[Array, ""]
    solved: Bool[Array, ""]
    seen: Bool[Array, " K"]
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
      An aggregator. A task that is absent from the batch of a solve keeps its share; a
      batch with a task that no solve has seen has one of its own. Where the weights of
      a method have a common scale, such as the sum of 1 of a convex combination, it is
      kept whichever tasks are present in between. The branch is real in a step of one
      seed; under ``vmap`` over seeds all of it runs in every step. A transformation of
      rows before this one is not skipped.

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
        nobody = jnp.zeros(rule.num_tasks, bool)
        held = task_numbers(shared, rule.num_tasks, 0)
        return Held(jnp.zeros((), jnp.int32), nobody.any(), nobody, held, inner)

    def solve(memory: Held, evaluation: Evaluation) -> Solution:
        present = evaluation.present

        def anew() -> tuple[Float[Array, " K"], Any]:
            weights, inner, _ = rule.solve(memory.inner, evaluation.recomputed())
            held = spread(memory.weights_held, weights, present, rule.reduction)
            return held.astype(memory.weights_held.dtype), inner

        def as_before() -> tuple[Float[Array, " K"], Any]:
            return memory.weights_held, memory.inner

        due = (memory.count % n == 0) | (present & ~memory.seen).any()
        held, inner = jax.lax.cond(due, anew, as_before)
        weights = among(held, present, rule.reduction)
        seen = memory.seen | present  # a new one is solved for at once
        memory = Held(memory.count + 1, due, seen, held, inner)
        return Solution(weights, memory, gradients(evaluation))

    after_step = rule.after_step

    def follow(memory: Held, evaluation: Evaluation, step: Any) -> Held:
        def learn() -> Any:
            assert after_step is not None
            return after_step(memory.inner, evaluation, step)

        inner = jax.lax.cond(memory.solved, learn, lambda: memory.inner)
        return memory._replace(inner=inner)

    told = follow if after_step is not None else None
    return Aggregator(rule.remembering(init, solve, after_step=told))
