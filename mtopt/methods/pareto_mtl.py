"""Pareto MTL: descend within one of several regions of trade-offs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect, expect_index, expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero
from mtopt.options import Integer, Numbers, as_array
from mtopt.registry import method
from mtopt.solvers import min_norm_weights


class SearchState(NamedTuple):
    """What Pareto MTL remembers.

    Attributes:
      searching: whether the first stage still looks for the region.
      count: the steps it has taken, int32.
    """

    searching: Bool[Array, ""]
    count: Int[Array, ""]


@method(
    family="preference",
    example=lambda num_tasks: {
        "preferences": tuple(map(tuple, np.eye(num_tasks))),
        "index": 0,
        "search_steps": 0,
    },
    traits=("task-bound",),
)
def pareto_mtl(
    num_tasks: int,
    *,
    preferences: Sequence[Numbers] | np.ndarray | Array,
    index: Integer,
    search_steps: Integer = 938,
    space: str = "parameters",
    heads: str = "weighted",
) -> Aggregator:
    r"""Pareto MTL: the front, cut into regions around preference rays.

    With unit preference vectors u_1, ..., u_N in the space of the losses, region i has
    the losses that are closest in angle to u_i: where every

    .. math:: c_j = (u_j - u_i)^T L \le 0

    One run per region gives N different trade-offs. *Stage one* walks into the region,
    by the min-norm point of the gradients of the violated constraints V = {j: c_j > 0};
    it ends at the first batch without one. *Stage two* descends the losses in it, by
    the min-norm point of their gradients and those of the violated constraints:

    .. math::
       \min_{(\lambda, \beta) \in \Delta} \Big\| \sum_k \lambda_k g_k
       + \sum_{j \in V} \beta_j \nabla c_j \Big\|^2, \qquad
       w_k = \lambda_k + \sum_{j \in V} \beta_j (u_{jk} - u_{ik})

    As :math:`\nabla c_j` is a combination of the g_k, the direction is
    :math:`d = \sum_k w_k g_k` with weights that may be negative; in stage two they are
    scaled to :math:`\sum_k |w_k| = K`.

    Args:
      num_tasks: K, at least 1.
      preferences: the N vectors, K numbers of at least 0 each, in task order; only
        their directions count. A task with a large entry may have a large loss. The
        paper spreads them evenly on the circle: (0, 1), (0.38, 0.92), (0.71, 0.71) ...
      index: i, of the region to go to, from 0 to N - 1.
      search_steps: at least 0; after as many steps stage two begins in any case. 938 is
        the two epochs that the authors' code allows on MultiMNIST.
      space: where the gradients of the Gramian are taken; see :func:`mtopt.mgda`.
      heads: ``"weighted"`` differentiates the weighted loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses. The regions are those of the tasks present:
      vectors are scaled to length 1 among them, and one of absent tasks alone is left
      out. A batch without a task of u_i descends the losses and counts in no search.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for preferences of another shape, negative or zero, or an index or
        number of steps out of range.

    Example:
      >>> import mtopt
      >>> tx = pareto_mtl(2, preferences=((1, 0), (1, 1), (0, 1)), index=1)
      >>> state = tx.init(jnp.zeros(2))
      >>> for losses in ([1., 9.], [1., 2.]):  # outside of the region; in it
      ...     _, state = tx.update(
      ...         jnp.array([[1., 0.], [0., 1.]]), state,
      ...         evaluation=mtopt.Evaluation(losses=jnp.array(losses)))
      ...     print(state.weights.round(2))
      [-0.71  0.29]
      [1. 1.]

    Nothing to balance:
      one task: its gradient; equal losses: weights of its own; a zero gradient: d
      = 0; all zero: d = 0.

    References:
      Lin et al., Pareto Multi-Task Learning, 2019, arXiv 1912.12854.

    Differences from released code:
      They write stage two for K = 2 alone, and take the gradients of all parameters.
      They solve by Frank-Wolfe; this solve is exact. The batch that ends stage one is
      used for a step of stage two.
    """
    expected = f"vectors of {num_tasks} numbers, none negative, not all 0"
    lengths = {len(u) for u in preferences}
    expect(lengths == {num_tasks}, "preferences", preferences, expected)
    rays = as_array(preferences)
    usable = (rays >= 0).all() & (rays > 0).any(axis=1).all()
    expect(usable, "preferences", preferences, expected)
    expect_index("index", index, len(rays))
    expect_number("search_steps", search_steps, at_least=0)
    rays = rays / (rays**2).sum(axis=1, keepdims=True) ** 0.5
    own = (np.arange(len(rays)) == index)[:, None]

    def memory(shared: Any) -> SearchState:
        del shared
        return SearchState(jnp.asarray(search_steps > 0), jnp.zeros((), jnp.int32))

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        here = jnp.asarray(rays, gramian.dtype) * present[None]
        units = divide_or_zero(here, jnp.linalg.norm(here, axis=1, keepdims=True))
        unit = jnp.sum(own * units, axis=0)
        away, lost = units - unit[None], ~unit.any()
        losses = jnp.where(present, losses, 0).astype(gramian.dtype)
        violated = jnp.matmul(away, losses, precision="highest") > 0
        violated &= ~lost
        searching = memory.searching & violated.any()
        searching &= memory.count < search_steps

        rows = jnp.concatenate([jnp.eye(num_tasks, dtype=gramian.dtype), away])
        active = jnp.concatenate([present & ~searching, violated])
        products = jnp.linalg.multi_dot([rows, gramian, rows.T], precision="highest")
        weights = min_norm_weights(products, active) @ rows
        total = jnp.sum(jnp.abs(weights))
        scale = present.sum() / jnp.where(total > 0, total, 1)
        weights = jnp.where(searching, weights, scale * weights)
        return weights, SearchState(
            jnp.where(lost, memory.searching, searching), memory.count + searching
        )

    return on_gramian(
        num_tasks,
        weigh,
        heads=heads,
        reduction="sum",
        space=space,
        memory=memory,
        least_losses=0.0,
    )
