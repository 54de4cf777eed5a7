"""Aligned-MTL: gradients made orthogonal and of one length."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number, expect_one_of, expect_per_task
from mtopt.evaluation import Evaluation
from mtopt.linalg import with_tasks_at_rest
from mtopt.options import Number, Numbers
from mtopt.registry import method

SCALES = ("min", "median", "rmse")


@method(family="gramian")
def aligned_mtl(
    num_tasks: int,
    *,
    preference: Numbers | None = None,
    scale: str = "min",
    smallest: Number | None = None,
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Independent component alignment: brings all singular values to one.

    From the eigenvalues of the Gramian, without those that rounding cannot tell from 0:

    .. math::
       G = V \Lambda V^T, \qquad
       B = \sqrt{s} \, V \Lambda^{-1/2} V^T, \qquad
       w = B p, \qquad d = \sum_k w_k g_k

    :math:`B J` is the matrix with orthogonal rows of length :math:`\sqrt s` nearest to
    J: gradients that neither conflict nor dominate, summed with the preference p.

    Args:
      num_tasks: K, at least 1.
      preference: p, a non-negative number for every task, in the sorted order of the
        task names, not all zero. None for ones, as in the authors' code and LibMTL;
        TorchJD has 1 / K.
      scale: s, of the eigenvalues that are kept: ``"min"``, the paper's and everyone's
        default; ``"median"``, the lower one of an even number; ``"rmse"``, their mean.
        The latter two are options of the authors' code.
      smallest: K times this is the largest eigenvalue, relative to the first, that
        counts as 0. None for the rounding of the Gramian's dtype; released codes have
        that of float32, 1.19e-7, whatever the dtype.
      space: where the Gramian is taken; ``"representation"`` is Aligned-MTL-UB. See
        :func:`mtopt.methods.mgda.mgda`.
      heads: ``"plain"`` leaves a task's own parameters their own gradient, the default
        of the authors' code; ``"weighted"`` is its ``scale_decoder_grad``.

    Returns:
      An aggregator. An absent task, or one whose gradient is zero, adds no eigenvalue;
      the latter has weight 1, by which weighted heads still learn.

    Raises:
      UserError: for an unknown option, or a preference of another length, negative, or
        all zero.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = aligned_mtl(2, preference=(.5, .5))
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.213, 0.967, 0.967]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Senushkin et al., Independent Component Alignment for Multi-Task Learning, 2023,
      arXiv 2305.19000.

    Differences from released code:
      What counts as an eigenvalue of 0, see ``smallest``. All gradients zero give no
      direction (LibMTL fails).
    """
    expect_one_of("scale", scale, SCALES)
    if smallest is not None:
        expect_number("smallest", smallest, at_least=0, below=1)
    array = np.ones(num_tasks)
    if preference is not None:
        array = expect_per_task("preference", preference, num_tasks, at_least=0)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        p = jnp.asarray(array, gramian.dtype)
        weights = aligned_mtl_weights(gramian, p, scale=scale, smallest=smallest)
        return with_tasks_at_rest(weights, gramian, evaluation.present), memory

    return on_gramian(num_tasks, weigh, heads=heads, space=space)


def aligned_mtl_weights(
    gramian: Float[Array, "K K"],
    preference: Float[Array, " K"],
    *,
    scale: str,
    smallest: Number | None = None,
) -> Float[Array, " K"]:
    """The weights B p of the aligned gradients.

    Args:
      gramian: G = J J^T, ``[K, K]``; a row of zeros has weight 0.
      preference: p, ``[K]``.
      scale: ``"min"``, ``"median"`` or ``"rmse"``.
      smallest: as in :func:`aligned_mtl`.

    Returns:
      The weights, ``[K]``, of either sign.
    """
    if smallest is None:
        smallest = float(jnp.finfo(gramian.dtype).eps)
    largest = jnp.max(jnp.diagonal(gramian))
    # B does not depend on the unit of G, and its eigenvalues need not overflow.
    values, vectors = jnp.linalg.eigh(gramian / jnp.where(largest > 0, largest, 1))
    kept = values > len(values) * smallest * values[-1]
    count = kept.sum()
    s = {
        "min": jnp.min(values, initial=values[-1], where=kept),
        "median": values[len(values) - count + (count - 1) // 2],
        "rmse": jnp.sum(values, where=kept) / jnp.maximum(count, 1),
    }[scale]
    gains = jnp.where(kept, jnp.sqrt(s / jnp.where(kept, values, 1)), 0)
    components = jnp.matmul(preference, vectors, precision=lax.Precision.HIGHEST)
    return jnp.matmul(vectors, gains * components, precision=lax.Precision.HIGHEST)
