"""Trimmed mean: in every coordinate, the average without the extremes."""

from typing import Any

import jax
import jax.numpy as jnp

from mtopt.aggregation import Aggregator, Reduced, row_weighting
from mtopt.among_tasks import the_middle
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.options import Integer, is_traced
from mtopt.registry import method


@method(family="gradients", traits=("mean-like",))
def trimmed_mean(
    num_tasks: int, *, num_trimmed: Integer = 1, heads: str = "plain"
) -> Aggregator:
    r"""Averages each coordinate without its b largest and b smallest task gradients.

    .. math::
       d_j = \frac{1}{n - 2b} \sum_{i=b+1}^{n-b} g_{(i)j},
       \qquad g_{(1)j} \le \dots \le g_{(n)j}

    over the n tasks present. One task whose gradients are arbitrary cannot move a
    coordinate beyond the range of the others, whatever it sends. With the largest b
    it is the coordinate-wise median.

    Args:
      num_tasks: K, at least 1.
      num_trimmed: b, the number of gradients to leave out on each side, at least 0.
        Where a batch has fewer than 2b + 1 tasks, the largest b that leaves a middle
        (one task, or two of an even number) takes its place.
      heads: ``"plain"``: a head moves along its own gradient; ``"weighted"``: along
        1 / (n - 2b) of it.

    Returns:
      An aggregator.

    Raises:
      UserError: for a negative number.

    Example:
      >>> tx = trimmed_mean(3)
      >>> jacobian = jnp.array([[1., 900.], [2., 3.], [-800., 4.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(2)))
      >>> direction.tolist()
      [1.0, 4.0]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another d; all zero: d = 0.

    References:
      Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical
      Rates, 2018, arXiv 1803.01498. It averages the gradients of machines, of which
      some are hostile; TorchJD offers it for tasks.

    Differences from released code:
      TorchJD refuses fewer than 2b + 1 rows; here b shrinks, since the number of
      tasks in a batch may vary. Tasks absent from the batch are not counted.
    """
    expect_number("num_trimmed", num_trimmed, at_least=0)

    largest = (num_tasks - 1) // 2
    most = largest if is_traced(num_trimmed) else min(int(num_trimmed), largest)

    def reduce(memory: Any, evaluation: Evaluation) -> Reduced:
        rows, present = evaluation.rows, evaluation.present
        count = present.sum()
        trimmed = jnp.minimum(num_trimmed, jnp.maximum(count - 1, 0) // 2)

        middle = jax.tree.map(
            lambda leaf: the_middle(leaf, present, trimmed, most), rows
        )
        kept = jnp.maximum(count - 2 * trimmed, 1).astype(float)
        return present / kept, middle, memory

    return row_weighting(num_tasks, reduce, heads=heads)
