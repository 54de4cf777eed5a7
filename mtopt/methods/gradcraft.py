"""GradCraft: norms brought together, then all conflicts of a task solved at once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Gramian, Weighed, on_gramian
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import divide_or_zero, task_numbers, where_present
from mtopt.methods.conflict_free import correlation
from mtopt.options import Number
from mtopt.registry import method


@method(family="gramian", traits=("mean-like",))
def gradcraft(
    num_tasks: int,
    *,
    tau: Number = 0.1,
    epsilon: Number = 1e-10,
    decay: Number = 0.0,
    space: str = "parameters",
    heads: str = "weighted",
) -> Aggregator:
    r"""Gradient crafting: balances magnitudes, then directions.

    With a running mean :math:`m_k` of the norms, every gradient comes closer to the
    largest; then each is moved off all tasks it conflicts with, c, at once:

    .. math::
       h_k = \Big( \tau \frac{\max_j m_j}{m_k} + 1 - \tau \Big) g_k, \qquad
       \tilde h_k = h_k + H_c^T x_k, \qquad
       H_c H_c^T x_k = \epsilon \|h_k\| n_c - H_c h_k, \qquad
       d = \frac1K \sum_k \tilde h_k

    where the rows of :math:`H_c` are the :math:`h_j` with :math:`\langle h_j, h_k
    \rangle < 0` and :math:`n_c` their norms. Then :math:`\langle h_j, \tilde h_k
    \rangle = \epsilon \|h_j\| \|h_k\|` for all of them, where PCGrad's projections,
    one after another, may undo each other. A gradient with no conflict stays as it is,
    and need not agree with what the others became.

    Args:
      num_tasks: K, at least 1.
      tau: how far a norm moves towards the largest one, in [0, 1]: 0 leaves it, 1 makes
        it the same. The authors try 0.1 to 1; 0.1 is their example's.
      epsilon: the agreement that replaces a conflict, as a cosine, in [0, 1). The
        authors try 1e-10 to 1e-8, for which it only breaks the tie at 0.
      decay: b of the running means :math:`b m + (1 - b) \|g\|`, in [0, 1). All runs of
        the authors' code have 0, the norms of the present step.
      space: where the inner products are taken; see :func:`mtopt.methods.mgda.mgda`.
      heads: ``"weighted"`` scales the gradient of a task's own parameters by its weight
        in d, as the authors' code does (and then by K: it sums where d is a mean);
        ``"plain"`` leaves it.

    Returns:
      An aggregator. Its memory holds the running sums of the norms and of their
      shares, ``[K]`` each; those of an absent task stay as they were.

    Raises:
      UserError: for a ``tau``, ``epsilon`` or ``decay`` outside its range.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = gradcraft(2, tau=0.)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> [round(float(x), 3) for x in direction]
      [0.292, 1.901, 1.901]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Bai et al., GradCraft: Elevating Multi-task Recommendations through Holistic
      Gradient Crafting, 2024, arXiv 2407.19682.

    Differences from released code:
      Its running means start at 0, all in the same step, so that their ratios are
      those of the corrected means used here; a task that comes later starts without a
      shock. Conflicts are solved on the cosines with a ridge of 10 K roundings and two
      steps of refinement, where it inverts a Gramian that repeated gradients make
      singular. The mean is over the present tasks.
    """
    expect_number("tau", tau, at_least=0, at_most=1)
    expect_number("epsilon", epsilon, at_least=0, below=1)
    expect_number("decay", decay, at_least=0, below=1)

    def weigh(memory: Any, gramian: Gramian, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        sums, shares = memory
        norms = jnp.sqrt(jnp.diagonal(gramian)).astype(sums.dtype)
        new = decay * sums + (1 - decay) * norms, decay * shares + (1 - decay)
        sums, shares = where_present(present, new, memory)
        means = jnp.where(present, sums / jnp.where(present, shares, 1), 0)
        weights = gradcraft_weights(
            gramian, means.astype(gramian.dtype), tau=tau, epsilon=epsilon
        )
        return weights / jnp.maximum(present.sum(), 1), (sums, shares)

    def start(shared: Any) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        zeros = task_numbers(shared, num_tasks, 0)
        return zeros, zeros

    return on_gramian(
        num_tasks, weigh, heads=heads, reduction="mean", space=space, memory=start
    )


def gradcraft_weights(
    gramian: Float[Array, "K K"],
    means: Float[Array, " K"],
    *,
    tau: Number,
    epsilon: Number,
) -> Float[Array, " K"]:
    """What every gradient counts in the sum of the crafted ones.

    Args:
      gramian: G = J J^T, ``[K, K]``; a row of zeros adds nothing.
      means: the running means of the norms, ``[K]``; 0 for a task that has none, whose
        gradient is then not scaled.
      tau: see :func:`gradcraft`.
      epsilon: see :func:`gradcraft`.

    Returns:
      The weights of the sum, ``[K]``: K times those of the mean.
    """
    cosines, norms = correlation(gramian)
    seen = means > 0
    closer = tau * jnp.max(means) / jnp.where(seen, means, 1) + 1 - tau
    scale = jnp.where(seen, closer, 1)
    lengths = scale * norms
    # In units of the lengths, h_j counts y_kj |h_k| / |h_j| in what is added to h_k.
    y = _resolve(cosines, cosines, epsilon)
    added = jnp.sum(lengths[:, None] * y, axis=0)
    return scale * (1 + divide_or_zero(added, lengths))


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0, None))
def _resolve(
    cosines: Float[Array, "K K"], own: Float[Array, " K"], epsilon: Number
) -> Float[Array, " K"]:
    """For each row of cosines, what to add of the tasks that it conflicts with."""
    conflict = own < 0
    rhs = jnp.where(conflict, epsilon - own, 0)
    pairs = conflict[:, None] & conflict[None, :]
    system = jnp.where(pairs, cosines, 0) + jnp.diag((~conflict).astype(own.dtype))
    ridge = 10 * len(own) * float(jnp.finfo(own.dtype).eps)
    factor = jax.scipy.linalg.cho_factor(
        system + ridge * jnp.eye(len(own), dtype=own.dtype), lower=True
    )
    y = jax.scipy.linalg.cho_solve(factor, rhs)
    for _ in range(2):
        left = rhs - jnp.matmul(system, y, precision=lax.Precision.HIGHEST)
        y = y + jax.scipy.linalg.cho_solve(factor, left)
    return y
