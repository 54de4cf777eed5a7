"""UPGrad: project every gradient so that it harms no task, then average."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero
from mtopt.methods.dualproj import preferred
from mtopt.options import Numbers
from mtopt.registry import method
from mtopt.solvers import dual_cone_projections
from mtopt.solvers.dense import correlation


@method(family="gramian", traits=("mean-like", "non-conflicting"))
def upgrad(
    num_tasks: int,
    *,
    preference: Numbers | None = None,
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""The mean of the gradients, each projected on the dual cone of all of them.

    .. math::
       d = \sum_k p_k \pi(g_k), \qquad
       \pi(g) = \operatorname*{argmin}_{x : \langle g_j, x \rangle \ge 0 \;
           \forall j} \|x - g\|^2

    No task is harmed, and d is linear in the scale of each gradient. :math:`\pi(g_k) =
    \sum_j v_j g_j` with v the minimiser of :math:`v^\top G v` over :math:`v \ge e_k`:
    K quadratic programs on one matrix, solved at once; see
    :func:`mtopt.solvers.dual_cone_projections`.

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
      >>> tx = upgrad(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.292, 1.901, 1.901]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024, arXiv
      2406.16232.

    Differences from released code:
      TorchJD adds 1e-4 of the trace to the Gramian and solves one program after another
      on the host; nothing is added here.
    """
    weigh_preference = preferred(num_tasks, preference)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        own = weigh_preference(present, gramian.dtype)
        return upgrad_weights(gramian, own, present), memory

    return on_gramian(num_tasks, weigh, heads=heads, reduction="mean", space=space)


def upgrad_weights(
    gramian: Float[Array, "K K"],
    preference: Float[Array, " K"],
    present: Bool[Array, " K"],
) -> Float[Array, " K"]:
    """The weights of the projected gradients' sum, at least the preference.

    Args:
      gramian: G = J J^T, ``[K, K]``.
      preference: p, ``[K]``, zero for absent tasks.
      present: which tasks take part, ``[K]``.
    """
    matrix, scale = correlation(gramian, present)
    inverse = divide_or_zero(1.0, scale)
    borrowed = dual_cone_projections(matrix)
    lent = jnp.matmul(preference * inverse, borrowed, precision="highest")
    return preference + scale * lent
