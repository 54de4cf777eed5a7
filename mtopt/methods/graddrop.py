"""GradDrop: in every coordinate, keep the gradients of one sign, drawn at random."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.aggregation import Aggregator, Reduced, Weighed, row_weighting, weighting
from mtopt.among_tasks import sum_over_tasks, task_by_task
from mtopt.errors import expect, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import as_complex, as_real, scale_rows
from mtopt.memory.count import no_updates
from mtopt.options import Number, Numbers, as_array
from mtopt.points import one_point
from mtopt.registry import method
from mtopt.rule import Solution


@method(family="gradients", traits=("random",))
def graddrop(
    num_tasks: int,
    *,
    leak: Number | Numbers = 0.0,
    space: str = "parameters",
    heads: str = "plain",
) -> Aggregator:
    r"""Draws a sign for every coordinate and drops the gradients that oppose it.

    .. math::
       P = \frac12 \Big( 1 + \frac{\sum_k g_k}{\sum_k |g_k|} \Big), \qquad
       M_k = [P > U]\,[g_k > 0] + [P < U]\,[g_k < 0], \qquad
       d = \sum_k \big( \ell_k + (1 - \ell_k) M_k \big) \circ g_k

    coordinate by coordinate, with U uniform on [0, 1): the purer the sign of a
    coordinate, the likelier it wins. Points where all gradients vanish are the only
    ones where d vanishes with certainty.

    Args:
      num_tasks: K, at least 1.
      leak: :math:`\ell_k`, the part of a gradient that is never dropped, 0 to 1: one
        number, or one per task in sorted order.
      space: where the signs are drawn. ``"parameters"``: for every shared parameter,
        as in the released code of CAGrad and its successors, whence most published
        numbers. ``"representation"``: for every feature, as in the paper, with the
        gradients multiplied by the sign of the feature and summed over the batch for
        the draw; one pass through the encoder, for tasks of one structure.
      heads: ``"plain"``: a head sees none of this and moves along its own gradient,
        as in the paper; ``"weighted"`` is the same here, unless task weights are set.

    Returns:
      An aggregator. For the representation it needs a problem.

    Raises:
      UserError: for a leak outside 0 to 1 or of another length, an unknown option,
        and (on update) for the representation of groups of tasks.

    Example:
      >>> tx = graddrop(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(jacobian, tx.init(jnp.zeros(3)))
      >>> float(direction[0]) in (-4., 6.), direction[1:].tolist()
      (True, [2.0, 2.0])

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient: left
      out; all zero: d = 0.

    References:
      Chen et al., Just Pick a Sign: Optimizing Deep Multitask Models with Gradient
      Sign Dropout, 2020, arXiv 2010.06808.

    Differences from released code:
      LibMTL has the representation alone, TorchJD the parameters alone. The forks of
      CAGrad clip d to norm 1 afterwards: ``optax.clip_by_global_norm(1.)`` does so. A
      coordinate where no task has a gradient has P = 1/2 rather than 0 / 0.
    """
    expect_one_of("space", space, ("parameters", "representation"))
    leaks = as_array(leak)
    expect(leaks.shape in ((), (num_tasks,)), "leak", leak, f"1 or {num_tasks} numbers")
    expect(((leaks >= 0) & (leaks <= 1)).all(), "leak", leak, "0 to 1")
    leaks = jnp.broadcast_to(leaks.astype(np.float32), num_tasks)

    def drop(count: Any, evaluation: Evaluation) -> Reduced:
        rows, present = evaluation.rows, evaluation.present
        masked = _each_leaf(_mask, evaluation.random_key(count), rows)
        kept = jax.tree.map(partial(_leak_through, leaks), rows, masked)
        return present.astype(jnp.float32), kept, count + 1

    if space == "parameters":
        return row_weighting(
            num_tasks, drop, heads=heads, reduction="sum", memory=no_updates
        )

    def everyone(count: Any, evaluation: Evaluation) -> Weighed:
        return evaluation.present.astype(jnp.float32), count + 1

    rule = weighting(
        num_tasks, everyone, heads=heads, reduction="sum", memory=no_updates
    ).rule

    def solve(count: Any, evaluation: Evaluation) -> Solution:
        """The masked gradients go back through the encoder together."""
        problem = evaluation.problem
        point = one_point(evaluation.points, "graddrop(space='representation')")

        def pullback(weights: Float[Array, " K"], also: Any) -> Any:
            z = as_real(problem.representation(point.params))
            found = problem.representation_rows([point])
            gradients = as_real(found)
            signed = jax.tree.map(_signed, gradients, z)
            masks = _each_leaf(_mask, evaluation.random_key(count), signed)
            masks = jax.tree.map(lambda mask: mask[:, None], masks)
            kept = jax.tree.map(partial(_leak_through, leaks), gradients, masks)
            kept = as_complex(scale_rows(weights, kept), found)
            total = problem.sum_over_tasks(kept)
            direction = problem.pull_representation(point.params, total)
            if also is None:
                return direction
            return evaluation.plus_representation(direction, also)

        solution = rule.solve(count, evaluation)
        return solution._replace(gradients=evaluation.replace(pullback=pullback))

    return Aggregator(rule.replace(solve=solve, gradients=None))


def _mask(key: Any, rows: Float[Array, "K ..."]) -> Any:
    """True where a gradient has the sign that was drawn for its coordinate."""
    wide = rows.astype(jnp.promote_types(rows.dtype, jnp.float32))
    total = sum_over_tasks(jnp.abs(wide))
    purity = (1 + sum_over_tasks(wide) / jnp.where(total > 0, total, 1)) / 2
    drawn = jax.random.uniform(key, purity.shape, jnp.float32)

    def has_the_sign(row: Array) -> Array:
        return ((purity > drawn) & (row > 0)) | ((purity < drawn) & (row < 0))

    return task_by_task(has_the_sign, rows)


def _signed(gradients: Float[Array, "K ..."], z: Float[Array, " ..."]) -> Any:
    """Gradients times the sign of the features, summed over the batch: [K, ...]."""
    z = z if z.ndim == gradients.ndim else z[None]
    return (gradients * jnp.sign(z)).sum(axis=1)


def _leak_through(
    leaks: Float[Array, " K"], rows: Array, masks: Bool[Array, "..."]
) -> Array:
    """Masked rows, and of what was masked the leak."""

    def of_task(leak: Array, row: Array, mask: Array) -> Array:
        wide = jnp.promote_types(row.dtype, jnp.float32)
        leaked = (leak.astype(wide) * row).astype(row.dtype)
        return jnp.where(mask, row, leaked)

    return task_by_task(of_task, leaks, rows, masks)


def _each_leaf(function: Callable[..., Array], key: PRNGKeyArray, tree: Any) -> Any:
    """``function(key of its own, leaf)`` for every leaf."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(map(function, keys, leaves))
