"""ExcessMTL: more weight to the tasks that are furthest from their best loss."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import as_real, some_rows, where_present, zero_rows
from mtopt.options import Integer, Number
from mtopt.registry import method


@method(family="gradients")
def excess_mtl(
    num_tasks: int,
    *,
    eta: Number = 0.01,
    warmup: Integer = 1,
    heads: str = "weighted",
) -> Aggregator:
    r"""Exponentiated weights on an estimate of how far a task is from its optimum.

    .. math::
       S_k \leftarrow S_k + g_k^2, \qquad
       e_k = g_k^\top \operatorname{diag}(S_k + 10^{-7})^{-1/2} g_k, \qquad
       w_k \leftarrow \frac{w_k \exp(\eta\, e_k / e_k^0)}
           {\frac1K \sum_j w_j \exp(\eta\, e_j / e_j^0)}

    A task with noisy labels has a large loss that no training removes; weighing by
    losses feeds it. Its *excess* risk, by a second-order expansion with AdaGrad's
    diagonal for the Hessian, is small once what can be learnt is learnt.

    Args:
      num_tasks: K, at least 1.
      eta: the step of the weights, above 0. TorchJD has 1.
      warmup: over how many of a task's first batches its scale :math:`e_k^0` is
        averaged, at least 1; its weight stands still meanwhile. 1 is the released
        code, three epochs the paper.
      heads: ``"weighted"``: a head moves along w_k times its gradient (the released
        code); ``"plain"``: along its gradient.

    Returns:
      An aggregator whose weights sum to K. Its memory is as large as the rows. It reads
      no losses: a task whose gradients grow without end, as those of a likelihood with
      a learned variance, takes all weight, and no offset changes that.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> tx = excess_mtl(2, eta=1.)
      >>> jacobian, params = jnp.array([[1., 0.], [0., 1.]]), jnp.zeros(2)
      >>> _, state = tx.update(jacobian, tx.init(params))
      >>> _, state = tx.update(jacobian * jnp.array([[1.], [0.1]]), state)
      >>> [round(float(weight), 2) for weight in state.weights]
      [1.34, 0.66]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      He et al., Robust Multi-Task Learning with Excess Risks, 2024, arXiv 2402.02009.

    Differences from released code:
      TorchJD's weights sum to 1: ``optax.scale(1 / K)`` after this one. Weights are
      kept as logarithms, so that a steep ratio saturates instead of overflowing. A
      task absent from the batch keeps its weight, the others share the rest; batches
      without any gradient of a task do not count for its scale.
    """
    expect_number("eta", eta, above=0)
    expect_number("warmup", warmup, at_least=1)

    def start(shared: Any) -> tuple[Any, Array, Array, Int[Array, " K"]]:
        squares = zero_rows(as_real(shared), num_tasks)
        zeros = _per_task_sum(squares, num_tasks)
        return squares, zeros, zeros, jnp.zeros(num_tasks, jnp.int32)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        rows, present = as_real(evaluation.rows), evaluation.present
        squares, log_weights, scale, seen = memory
        square = jax.tree.map(lambda s, g: jnp.square(g.astype(s.dtype)), squares, rows)
        squares = where_present(
            present, jax.tree.map(jnp.add, squares, square), squares
        )
        excess = _per_task_sum(
            jax.tree.map(lambda g2, s: g2 / jnp.sqrt(s + 1e-7), square, squares),
            num_tasks,
        )
        counts = present & (excess > 0)
        learning = counts & (seen >= warmup)
        scaling = counts & ~learning
        seen = seen + scaling
        mean = scale + (excess - scale) / jnp.maximum(seen, 1)
        scale = jnp.where(scaling, mean, scale)

        ratio = excess / jnp.where(scale > 0, scale, 1)
        raised = log_weights + jnp.where(learning, eta * ratio, 0)
        shares = raised - _log_total(raised, present)  # first: both may be huge
        total = _log_total(log_weights, present)
        log_weights = jnp.where(present, shares + total, log_weights)
        return jnp.exp(log_weights), (squares, log_weights, scale, seen)

    return weighting(num_tasks, weigh, heads=heads, memory=start, from_rows=True)


def _per_task_sum(rows: Any, num_tasks: int) -> Any:
    """The sum of all entries of every task's row, ``[K]``."""
    leaves = jax.tree.leaves(some_rows(rows, num_tasks))
    flat = (leaf.reshape(len(leaf), -1) for leaf in leaves)
    return sum(leaf.sum(axis=1) for leaf in flat)


def _log_total(
    log_weights: Float[Array, " K"], present: Bool[Array, " K"]
) -> Float[Array, ""]:
    """The logarithm of what the present tasks weigh together."""
    total = logsumexp(jnp.where(present, log_weights, -jnp.inf))
    return jnp.where(jnp.isfinite(total), total, 0)
