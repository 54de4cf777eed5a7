"""LDC-MTL: learn the weights of the losses, and hold the losses together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.memory.learned import Learned, learn, start
from mtopt.options import Number
from mtopt.registry import method

NORMALIZATIONS = ("identity", "rescaled", "log")
SMALLEST = 1e-20


class Memory(NamedTuple):
    """What LDC remembers.

    Attributes:
      logits: of the weights, with their optimizer.
      first: the first loss that each task showed, ``[K]``.
      seen: whether it has shown one, ``[K]``.
    """

    logits: Learned
    first: Float[Array, " K"]
    seen: Bool[Array, " K"]


@method(family="losses", traits=("mean-like", "task-bound"))
def ldc(
    num_tasks: int,
    *,
    penalty: Number = 0.05,
    tau: str = "weights",
    normalization: str = "rescaled",
    learning_rate: Number = 0.025,
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends a learned weighting of the losses and the gaps between them.

    .. math::
       L = \sum_k v_k \tilde L_k
           + \gamma \sum_k \big| \tau_k \tilde L_k
                               - \tau_{k+1} \tilde L_{k+1} \big|,
       \qquad v = \mathrm{softmax}(x),
       \qquad w = \frac{\partial L}{\partial (L_1, \dots, L_K)}

    It is the penalty form of a bilevel problem: the weights v shall hold the losses
    together (upper level) where their weighted sum is least (lower level). Model and
    logits x descend the same L. The gaps are those between neighbours in the sorted
    order of the task names, so that this order matters; a gap can make the weight of
    the smaller loss negative.

    Args:
      num_tasks: K, at least 1.
      penalty: gamma, at least 0. The authors use 0.1 for Cityscapes, 0.05 for NYUv2
        and QM9, 0.01 for CelebA.
      tau: what scales the losses in the gaps. ``"weights"``: v (NYUv2, CelebA, QM9);
        ``"ones"``: nothing (Cityscapes).
      normalization: what makes the losses comparable. ``"rescaled"``: each is divided
        by the ratio of its first value to the smallest first value (NYUv2);
        ``"identity"``: none (Cityscapes, CelebA); ``"log"``: the logarithm of the
        loss over its first value (QM9).
      learning_rate: of Adam on the logits, above 0.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, positive ones for ``rescaled`` and ``log``.
      A loss of 0 has the logarithm of 1e-20. Tasks that are absent from a batch are
      skipped: the gaps are between neighbours that are present, which share v; the
      logit of an absent task stays as it is.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for an unknown option, or a number out of its range.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = ldc(2, penalty=0.1, tau="ones", normalization="identity")
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, state = jax.jit(tx.update)(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=mtopt.Evaluation(losses=jnp.array([2., 1.])))
      >>> [round(float(w), 3) for w in state.weights]
      [0.6, 0.4]

    Nothing to balance:
      one task: its gradient; equal losses: weights of its own; a zero gradient: d
      = 0; all zero: d = 0. A solved task holds the others back; see
      :func:`mtopt.without_stationary`.

    References:
      Xiao et al., LDC-MTL: Balancing Multi-Task Learning through Scalable Loss
      Discrepancy Control, 2025, arXiv 2502.08585.

    Differences from released code:
      Their v comes from a router, a small head of the network that reads its features
      and differs from model to model; a method on losses has no features to read, so
      the logits are free numbers with an optimizer of their own here, which start
      equal. Their QM9 code renews the first losses in every epoch.
    """
    expect_number("penalty", penalty, at_least=0)
    expect_one_of("tau", tau, ("weights", "ones"))
    expect_one_of("normalization", normalization, NORMALIZATIONS)
    expect_number("learning_rate", learning_rate, above=0)
    adam = optax.adam(learning_rate)

    def objective(
        losses: Float[Array, " K"],
        logits: Float[Array, " K"],
        first: Float[Array, " K"],
        seen: Bool[Array, " K"],
        present: Bool[Array, " K"],
    ) -> Float[Array, ""]:
        weights = jax.nn.softmax(logits, where=present)
        losses = normalized(losses, first, seen, normalization)
        compared = weights * losses if tau == "weights" else losses
        return weights @ losses + penalty * gaps(compared, present)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        losses = losses.astype(memory.first.dtype)
        if normalization == "log":
            losses = jnp.maximum(losses, 0)
        first = jnp.where(present & ~memory.seen, losses, memory.first)
        seen = memory.seen | present
        weights, slope = jax.grad(objective, (0, 1))(
            losses, memory.logits.values, first, seen, present
        )
        logits = learn(adam, memory.logits, slope, present)
        return weights, Memory(logits, first, seen)

    def memory(shared: Any) -> Memory:
        logits = start(adam, num_tasks, 0, shared)
        first = jnp.ones_like(logits.values)
        return Memory(logits, first, jnp.zeros((num_tasks,), bool))

    return weighting(
        num_tasks, weigh, heads=heads, reduction="mean", memory=memory, least_losses=0.0
    )


def normalized(
    losses: Float[Array, " K"],
    first: Float[Array, " K"],
    seen: Bool[Array, " K"],
    normalization: str,
) -> Float[Array, " K"]:
    """The losses in units that make them comparable.

    Args:
      losses: ``[K]``.
      first: the first loss of every task, ``[K]``.
      seen: which tasks have one, ``[K]``.
      normalization: see :func:`ldc`.
    """
    if normalization == "identity":
        return losses
    first = jnp.maximum(first, SMALLEST)
    if normalization == "rescaled":
        return losses * (jnp.min(first, where=seen, initial=jnp.inf) / first)
    return jnp.log((losses + SMALLEST) / first)


def gaps(values: Float[Array, " K"], present: Bool[Array, " K"]) -> Float[Array, ""]:
    """The sum of the distances between neighbours among the present tasks.

    Args:
      values: ``[K]``.
      present: which tasks take part, ``[K]``.
    """
    order = jnp.argsort(~present, stable=True)
    values, present = values[order], present[order]
    both = present[1:] & present[:-1]
    return jnp.sum(jnp.where(both, jnp.abs(values[1:] - values[:-1]), 0))
