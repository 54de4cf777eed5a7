"""GO4Align: tasks of similar risk form groups that share one weight."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number, expect_plain
from mtopt.evaluation import Evaluation
from mtopt.linalg import task_numbers, where_present
from mtopt.options import Number
from mtopt.registry import method

SMALLEST = 1e-8


@method(
    family="losses",
    fixed={"num_groups": "the length of a loop"},
)
def go4align(
    num_tasks: int,
    *,
    num_groups: int = 2,
    step_size: Number = 1e-4,
    heads: str = "weighted",
) -> Aggregator:
    r"""Groups the tasks by their risk in every step, and weighs the groups.

    .. math::
       p_k \propto p_k \, e^{-\eta L_k},
       \qquad s_k = \frac{\sum_j L_j}{L_k} \, p_k,
       \qquad w_k = \text{the mean of } s \text{ over the group of } k

    from :math:`p = 1/K`. The groups are those of k-means on the numbers s. These lie
    on a line, where groups are intervals, so that dynamic programming finds the best
    grouping itself, see :func:`group_means`.

    Args:
      num_tasks: K, at least 1.
      num_groups: at least 1. 1 gives all tasks the mean of s; K or more give every
        task its own s. The authors choose it for each data set, and their script
        has 1 by default.
      step_size: eta, at least 0, per unit of loss.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, and divides by them: whatever is below 1e-8
      counts as 1e-8. The sums and p are over the tasks present in the batch; an
      absent one keeps its p, and those present share the rest.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a number out of its range, or an unknown head rule.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = go4align(3, num_groups=2, step_size=0)
      >>> rows = jnp.ones((3, 2))
      >>> _, state = jax.jit(tx.update)(
      ...     rows, tx.init(jnp.zeros(2)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([1., 1.2, 6.])))
      >>> [round(float(w), 3) for w in state.weights]
      [2.506, 2.506, 0.456]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient:
      another d; all zero: d = 0.

    References:
      Shen et al., GO4Align: Group Optimization for Multi-Task Alignment, 2024, arXiv
      2404.06486.

    Differences from released code:
      Their k-means starts at random tasks and may end in a worse grouping, with a
      synchronisation of the host in every step; this one is exact, inside the compiled
      step.
    """
    expect_plain("num_groups", num_groups)
    expect_number("num_groups", num_groups, at_least=1)
    expect_number("step_size", step_size, at_least=0)

    def weigh(log_p: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        losses = jnp.maximum(losses, SMALLEST).astype(log_p.dtype)
        share = jax.nn.logsumexp(log_p, where=present)
        moved = log_p - step_size * losses
        within = moved - jax.nn.logsumexp(moved, where=present)
        total = jnp.sum(losses, where=present)
        risks = total / losses * jnp.exp(within)
        weights = group_means(risks, present, num_groups)
        return weights, where_present(present, within + share, log_p)

    def memory(shared: Any) -> Float[Array, " K"]:
        return task_numbers(shared, num_tasks, -math.log(num_tasks))

    return weighting(
        num_tasks, weigh, heads=heads, reduction="sum", memory=memory, least_losses=0.0
    )


def group_means(
    values: Float[Array, " K"], present: Bool[Array, " K"], num_groups: int
) -> Float[Array, " K"]:
    """Every value replaced by the mean of its group in the best k-means grouping.

    The best grouping of numbers cuts their sorted order into intervals; the one with
    the least squares comes from dynamic programming over the cuts, in O(K^2) a group.

    Args:
      values: ``[K]``.
      present: which of them count, ``[K]``.
      num_groups: at least 1; fewer are used where fewer values differ.

    Example:
      >>> import jax.numpy as jnp
      >>> values = jnp.array([5., 1., 2., 6., 1.5])
      >>> group_means(values, jnp.ones(5, bool), 2).tolist()
      [5.5, 1.5, 1.5, 5.5, 1.5]
    """
    size = len(values)
    order = jnp.argsort(jnp.where(present, values, jnp.inf))
    counts = present[order].astype(values.dtype)
    sorted_values = jnp.where(present, values, 0)[order]
    scale = jnp.max(jnp.abs(sorted_values))
    scale = jnp.where(scale > 0, scale, 1)
    places = jnp.arange(size)

    def extend(
        groups: tuple[Array, Array, Array], item: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array, Array], Array]:
        """One more value for the groups that start at or before it."""
        count, mean, spread = groups
        place, value, counts_one = item
        joins = jnp.where(places <= place, counts_one, 0)
        count = count + joins
        distance = value - mean
        mean = mean + joins * distance / jnp.maximum(count, 1)
        spread = spread + joins * distance * (value - mean)
        return (count, mean, spread), spread

    zeros = jnp.zeros_like(values)
    items = (places, sorted_values / scale, counts)
    _, spreads = jax.lax.scan(extend, (zeros, zeros, zeros), items)
    # costs[end, begin]: the squares of the group of sorted values begin..end-1.
    costs = jnp.pad(spreads, ((1, 0), (0, 1)))
    costs = jnp.where(jnp.tri(size + 1, dtype=bool), costs, jnp.inf)

    def add_group(
        best: Float[Array, " cuts"], _: None
    ) -> tuple[Float[Array, " cuts"], Int[Array, " cuts"]]:
        totals = best[None] + costs
        return totals.min(1), totals.argmin(1)

    nothing = jnp.full((size + 1,), jnp.inf, values.dtype).at[0].set(0)
    _, cuts = jax.lax.scan(add_group, nothing, length=num_groups)

    def trace(
        end: Int[Array, ""], cut: Int[Array, " cuts"]
    ) -> tuple[Int[Array, ""], Int[Array, ""]]:
        return cut[end], cut[end]

    last = jnp.full((), size, cuts.dtype)
    _, begins = jax.lax.scan(trace, last, cuts, reverse=True)
    group = jnp.sum(begins[:, None] <= places[None], axis=0) - 1
    sums = jax.ops.segment_sum(sorted_values, group, num_groups)
    sizes = jax.ops.segment_sum(counts, group, num_groups)
    means = sums / jnp.maximum(sizes, 1)
    return jnp.zeros_like(values).at[order].set(means[group])
