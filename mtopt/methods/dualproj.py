"""DualProj: project the mean gradient so that it harms no task."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero
from mtopt.options import Numbers
from mtopt.registry import method
from mtopt.simplex import uniform_over
from mtopt.solvers import nonnegative_qp
from mtopt.solvers.dense import correlation, matvec


@method(family="gramian", traits=("mean-like", "non-conflicting"))
def dualproj(
    num_tasks: int,
    *,
    preference: Numbers | None = None,
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""The mean gradient, projected on the directions that harm no task.

    .. math::
       d = \operatorname*{argmin}_{x : \langle g_j, x \rangle \ge 0 \; \forall j}
           \Big\| x - \sum_k p_k g_k \Big\|^2

    :math:`d = \sum_k v_k g_k` with v the minimiser of :math:`v^\top G v` over
    :math:`v \ge p`, one quadratic program on the K x K Gramian; see
    :func:`mtopt.solvers.nonnegative_qp`.

    Args:
      num_tasks: K, at least 1.
      preference: p, one non-negative number per task, in the sorted order of the task
        names, used as given; None for the mean over the tasks present.
      space: where the gradients of the Gramian are taken: ``"parameters"``, or
        ``"representation"``, a cheaper upper bound.
      heads: ``"plain"`` leaves a head its own gradient (TorchJD); ``"weighted"`` scales
        it by the task's weight in d.

    Returns:
      An aggregator. In the space of the representation it needs a problem.

    Raises:
      UserError: for an unknown option or an unusable preference.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = dualproj(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.556, 1.111, 1.111]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, 2017,
      arXiv 1706.08840. As an aggregator of K tasks: Quinton and Rey, Jacobian Descent
      for Multi-Objective Optimization, 2024, arXiv 2406.16232.

    Differences from released code:
      TorchJD adds 1e-4 of the trace to the Gramian and solves on the host; nothing is
      added here.
    """
    weigh_preference = preferred(num_tasks, preference)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        own = weigh_preference(present, gramian.dtype)
        return dualproj_weights(gramian, own, present), memory

    return on_gramian(num_tasks, weigh, heads=heads, reduction="mean", space=space)


def dualproj_weights(
    gramian: Float[Array, "K K"],
    preference: Float[Array, " K"],
    present: Bool[Array, " K"],
) -> Float[Array, " K"]:
    """The weights of the projected sum of the gradients, at least the preference.

    Args:
      gramian: G = J J^T, ``[K, K]``.
      preference: p, ``[K]``, zero for absent tasks.
      present: which tasks take part, ``[K]``.
    """
    matrix, scale = correlation(gramian, present)
    scaled = divide_or_zero(preference, scale)
    longest = jnp.max(scaled)
    longest = jnp.where(longest > 0, longest, 1)
    lent = longest * nonnegative_qp(matrix, -matvec(matrix, scaled / longest))
    return preference + scale * lent


def preferred(
    num_tasks: int, preference: Numbers | None
) -> Callable[[Bool[Array, " K"], DTypeLike], Float[Array, " K"]]:
    """The preference as a function of the tasks present and the dtype.

    Raises:
      UserError: for another number of entries, or negative ones.
    """
    if preference is None:
        return lambda present, dtype: uniform_over(present).astype(dtype)
    array = expect_per_task("preference", preference, num_tasks, at_least=0)
    return lambda present, dtype: jnp.where(present, jnp.asarray(array, dtype), 0)
