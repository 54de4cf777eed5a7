"""How the tasks' gradients stand to one another in a step, and to the way it goes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mtopt.analysis.conflict import conflict_share
from mtopt.evaluation import Evaluation, split
from mtopt.linalg import (
    cross_gramian,
    divide_or_zero,
    gramian,
    row_norms,
    scale_rows,
    some_rows,
)
from mtopt.prepare_evaluation import prepare_evaluation


class Diagnostics(NamedTuple):
    """What :func:`diagnostics` finds; 0 for a task without a gradient unless told.

    Attributes:
      norm: the lengths of the tasks' gradients, ``[K]``.
      cosine: of the angle between every two of them, ``[K, K]``.
      magnitude_similarity: of every two lengths, ``[K, K]``, from 0 to 1; see
        :func:`magnitude_similarity`.
      conflict_share: of all pairs, those with a cosine below 0; nan without a pair.
      condition: the largest eigenvalue of the Gramian over the smallest, of the tasks
        that have a gradient, 1 or more; inf where the smallest is lost in rounding (K
        times the machine epsilon of the largest), nan where no task has a gradient.
      rank: how many of the gradients are independent, by those eigenvalues of the
        cosines that are not lost in rounding. A scale of a loss does not change it.
      weights: what the method gave the tasks, ``[K]``; None where no state was given.
      descent: the cosine of every task's gradient with the way that the shared
        parameters go, ``[K]``: below 0, the loss of the task rises along it, to first
        order. None where no updates were given.
    """

    norm: Float[Array, " K"]
    cosine: Float[Array, "K K"]
    magnitude_similarity: Float[Array, "K K"]
    conflict_share: Float[Array, ""]
    condition: Float[Array, ""]
    rank: Int[Array, ""]
    weights: Float[Array, " K"] | None
    descent: Float[Array, " K"] | None


def diagnostics(
    evaluation: Evaluation, updates: Any = None, opt_state: Any = None
) -> Diagnostics:
    r"""What a step's gradients are like: lengths, angles, rank, and who is served.

    It reads the gradients with respect to the shared parameters, and is pure: within
    ``jax.jit`` what is not read of it costs nothing. All of it takes the gradients of
    all tasks, K arrays of the size of the shared parameters, and two K x K
    eigenvalue problems; where the step makes these gradients too, the former once.

    Args:
      evaluation: of a problem, ``problem.evaluate(params)``, or, on plain arrays,
        ``mtopt.Evaluation(rows=rows)``, with ``present`` where a task is absent.
      updates: what the optimizer makes of the gradients, a tree to be added to the
        parameters; for ``descent``.
      opt_state: its state after that, for ``weights``.

    Returns:
      The diagnostics.

    Raises:
      UserError: for an evaluation without rows, or rows without the task axis.

    Example:
      >>> import mtopt
      >>> tx = mtopt.chain(mtopt.mgda(2), optax.sgd(1.0))
      >>> rows = jnp.array([[1.0, 0.0], [-2.0, 2.0]])
      >>> updates, state = tx.update(rows, tx.init(jnp.zeros(2)), jnp.zeros(2))
      >>> found = diagnostics(mtopt.Evaluation(rows=rows), updates, state)
      >>> print(f"{found.cosine[0, 1]:.3f} {found.magnitude_similarity[0, 1]:.3f}")
      -0.707 0.629
      >>> print(f"{found.conflict_share:.0%} {found.rank} {found.condition:.1f}")
      100% 2 18.2
      >>> [f"{weight:.2f} {way:.3f}" for weight, way in zip(*found[-2:], strict=True)]
      ['0.77 0.555', '0.23 0.196']
    """
    tasks = _count(evaluation)
    seen = prepare_evaluation(tasks, evaluation.gradients, None, evaluation, {})
    rows = some_rows(seen.rows, tasks)
    norm = row_norms(rows)
    units = scale_rows(divide_or_zero(1.0, norm), rows)
    cosine = gramian(units)
    return Diagnostics(
        norm=norm,
        cosine=cosine,
        magnitude_similarity=magnitude_similarity(norm),
        conflict_share=conflict_share(cosine),
        condition=_condition(norm, cosine),
        rank=_rank(cosine),
        weights=optax.tree.get(opt_state, "weights", default=None),
        descent=None if updates is None else _descent(units, split(updates)[0]),
    )


def magnitude_similarity(norm: Float[Array, "*batches K"]) -> Float[Array, "..."]:
    r"""How alike the lengths of every two gradients are.

    .. math:: \frac{2 \|g_i\| \|g_j\|}{\|g_i\|^2 + \|g_j\|^2}

    Args:
      norm: the lengths, ``[..., K]``, of any scale.

    Returns:
      ``[..., K, K]``: 1 for equal lengths, 0.2 where one is ten times the other; 0
      where one is 0.

    Example:
      >>> print(f"{magnitude_similarity(jnp.array([1., 10.]))[0, 1]:.3f}")
      0.198

    References:
      Yu et al., Gradient Surgery for Multi-Task Learning, 2020, arXiv 2001.06782.
    """
    one, other = norm[..., :, None], norm[..., None, :]
    ratio = divide_or_zero(jnp.minimum(one, other), jnp.maximum(one, other))
    return 2 * ratio / (1 + ratio**2)


def _count(evaluation: Evaluation) -> int:
    """K; where nothing is shared, no row tells it."""
    leaves = jax.tree.leaves(evaluation.rows)
    if leaves and jnp.ndim(leaves[0]):
        return len(leaves[0])
    return 1 if evaluation.present is None else len(evaluation.present)


def _condition(
    norm: Float[Array, " K"], cosine: Float[Array, "K K"]
) -> Float[Array, ""]:
    """Of the Gramian, divided by its largest entry so that no square overflows."""
    known = norm > 0
    unit = divide_or_zero(norm, norm.max())
    # A diagonal entry lies between the extreme eigenvalues: for absent tasks the
    # largest, 1, stands there and leaves both as they are.
    own = jnp.diag(jnp.where(known, 0, 1).astype(cosine.dtype))
    values = jnp.linalg.eigvalsh(unit[:, None] * cosine * unit[None, :] + own)
    found = values[0] > _lost(values)
    ratio = jnp.where(found, values[-1] / jnp.where(found, values[0], 1), jnp.inf)
    return jnp.where(known.any(), ratio, jnp.nan)


def _rank(cosine: Float[Array, "K K"]) -> Int[Array, ""]:
    values = jnp.linalg.eigvalsh(cosine)
    return jnp.sum(values > _lost(values))


def _lost(values: Float[Array, " K"]) -> Float[Array, ""]:
    """What rounding alone may make of an eigenvalue that is 0."""
    return len(values) * jnp.finfo(values.dtype).eps * values[-1]


def _descent(units: Any, updates: Any) -> Float[Array, " K"]:
    """The cosines of unit rows with the way that updates go."""
    way = some_rows(jax.tree.map(lambda leaf: -leaf[None], updates), 1)
    way = scale_rows(divide_or_zero(1.0, row_norms(way)), way)
    return cross_gramian(units, way)[:, 0]
