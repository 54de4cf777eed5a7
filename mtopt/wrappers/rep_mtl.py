"""Rep-MTL: penalties on the saliency of the representation for every task."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator
from mtopt.errors import expect_number, expect_one_of
from mtopt.options import Number, is_zero
from mtopt.problem import Params, Problem
from mtopt.wrappers.add_penalty import add_penalty
from mtopt.wrappers.log_losses import EPSILON, LogProblem
from mtopt.wrappers.saliency import (
    ANCHORS,
    SMOOTHING,
    cross_task_saliency_alignment,
    task_saliency,
    task_saliency_regulation,
)

CONTROLS = ("none", "detached", "shuffled")


def rep_mtl(
    aggregator: optax.GradientTransformation,
    *,
    tsr: Number = 0.9,
    csa: Number = 0.9,
    smoothing: Number = SMOOTHING,
    balanced: bool = False,
    temperature: Number = 0.5,
    anchor: str = "tasks",
    saliency: str = "losses",
    control: str = "none",
) -> Aggregator:
    r"""Adds the two saliency penalties of Rep-MTL to any aggregator.

    .. math::
       d = A(g_1, \dots, g_K) + \nabla \big( \lambda_{tsr} L_{tsr}(S)
           + \lambda_{csa} L_{csa}(S) \big), \qquad
       S_k = \partial L_k / \partial Z

    with :func:`mtopt.task_saliency_regulation`, which lets every task have places of
    the representation to itself (and can let one task have them all, so that another
    starves), and :func:`mtopt.cross_task_saliency_alignment`, which lets the tasks
    agree on a sample. Gradients flow through S to the heads and the encoder: second
    derivatives of the heads, one pass through the encoder.

    Args:
      aggregator: A; in the paper it is the sum of the log-losses:
        ``log_losses(rep_mtl(equal_weighting(K, reduction="sum")))``. Beside their mean
        the penalties weigh K times as much.
      tsr: the coefficient of TSR, at least 0; the paper tries 0.7 to 1.5 on every data
        set, and its ablations take 0.9. 0 leaves the term out.
      csa: the coefficient of CSA, likewise.
      smoothing: of TSR, at least 0: the least size that a saliency counts as, in units
        of the batch's typical one; 0 is the paper's, whose derivative has no bound.
      balanced: of TSR, subtract the entropy of the tasks' mean shares, so that no task
        gains by owning all places.
      temperature: of CSA, above 0; the paper does not say which, 0.5 is ours.
      anchor: of CSA, ``"tasks"`` or ``"mean"``: two readings of the paper.
      saliency: ``"losses"``: of the losses that A aggregates, which are log-losses
        inside of ``log_losses``; ``"log_losses"``: of their logarithms, so that a task
        of large loss does not own every place.
      control: what a gain is measured against. ``"none"`` is the method;
        ``"detached"`` treats S as a constant, which leaves no gradient and must equal
        the aggregator; ``"shuffled"`` deals every task's saliencies anew among the
        samples of the batch, which leaves penalties and gradients of like sizes and
        breaks what they compare: tasks on one sample. Where tasks have inputs of their
        own there is nothing to break, and it must do what ``"none"`` does.

    Returns:
      An aggregator; it needs a problem. With disjoint inputs, samples
      of two tasks are paired by their place in the batch: the paper does not say.

    Raises:
      UserError: for an option out of range, or (on update) a batch of one sample, a
        representation of several arrays, or groups of tasks without a common one.

    Example:
      >>> import mtopt, optax
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), lambda shared, x, key: x @ shared, head_loss)
      >>> params = {"shared": 0.1 * jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(jnp.eye(2, 4), tasks.names)}
      >>> tx = mtopt.log_losses(rep_mtl(mtopt.equal_weighting(2, reduction="sum")))
      >>> tx = mtopt.chain(tx, optax.sgd(0.05))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> step = mtopt.make_train_step(tasks, tx)
      >>> for _ in range(3):
      ...     state, metrics = step(state, batch)
      >>> bool(jnp.isfinite(metrics["losses"]).all())
      True

    References:
      Wang et al., Rep-MTL: Unleashing the Power of Representation-level Task Saliency
      for Multi-Task Learning, 2025, arXiv 2507.21049.

    Differences from released code:
      None was released. Where the text has several readings the first of each option is
      the recommended one; the mean over the K positives of a sample is ours, and so are
      the smoothing and the balanced form of TSR.
    """
    for name, value in (("tsr", tsr), ("csa", csa)):
        expect_number(name, value, at_least=0)
    expect_number("temperature", temperature, above=0)
    expect_one_of("anchor", anchor, ANCHORS)
    expect_one_of("saliency", saliency, ("losses", "log_losses"))
    expect_number("smoothing", smoothing, at_least=0)
    expect_one_of("control", control, CONTROLS)

    def penalty(
        problem: Problem, params: Params, representation: Any
    ) -> Float[Array, ""]:
        source = LogProblem(problem, EPSILON) if saliency == "log_losses" else problem
        found = task_saliency(source, params, representation)
        if control == "detached":
            found = jax.lax.stop_gradient(found)
        elif control == "shuffled":
            found = _shuffled(problem.key, found)
        total = jnp.zeros(())
        if not is_zero(tsr):
            total = total + tsr * task_saliency_regulation(
                found, smoothing=smoothing, balanced=balanced
            )
        if not is_zero(csa):
            total = total + csa * cross_task_saliency_alignment(
                found, temperature=temperature, anchor=anchor
            )
        return total

    return add_penalty(aggregator, penalty, 0 if is_zero((tsr, csa)) else 1)


def _shuffled(key: Array, saliency: Float[Array, "K B ..."]) -> Float[Array, "K B ..."]:
    """The samples of every task in an order of its own."""
    keys = jax.random.split(jax.random.fold_in(key, 2), len(saliency))
    return jax.vmap(jax.random.permutation)(keys, saliency)
