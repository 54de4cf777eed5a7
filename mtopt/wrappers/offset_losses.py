"""Any aggregator on losses measured from a lower bound of their own."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float
from typing_extensions import override

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import expect_number, expect_per_task
from mtopt.mapped_problem import Mapped, MappedProblem
from mtopt.options import Number, Numbers, as_array


def offset_losses(
    aggregator: optax.GradientTransformation, *, offset: Number | Numbers
) -> Aggregator:
    r"""An aggregator of the losses less an offset, for losses that go below zero.

    .. math:: \tilde L_k = L_k - b_k, \qquad \tilde g_k = g_k

    Many methods divide by losses, compare their ratios, or take logarithms: they take
    every loss to be at least zero, its best value. A likelihood with a learned variance
    has no such bound; a number that it will not pass makes it one. Gradients stay as
    they are, and so does a method that does not read losses. ``famo`` (``min_losses``),
    ``tchebycheff``, ``smooth_tchebycheff`` and ``pbi`` (``ideal``) have such bounds of
    their own, as their papers do.

    Args:
      aggregator: any aggregator; all that it sees is of the offset losses.
      offset: b, in units of the losses: one number, or K in the sorted order of the
        task names; losses should stay above it.

    Returns:
      An aggregator with the state of the inner one. It reads the losses.

    Raises:
      UserError: for an offset that is not finite or of another length, or a chain in
        place of an aggregator.

    Example:
      >>> import mtopt
      >>> tx = offset_losses(mtopt.scale_invariant(2), offset=-5.)
      >>> known = mtopt.Evaluation(losses=jnp.array([-3., -1.]))
      >>> _, state = tx.update(jnp.eye(2), tx.init(jnp.zeros(2)), evaluation=known)
      >>> state.weights.tolist()
      [0.5, 0.25]

    References:
      Liu et al., FAMO: Fast Adaptive Multitask Optimization, 2023, arXiv 2306.03792,
      measures losses from a lower bound b; here any method does.
    """
    rule = rule_of(aggregator, "offset_losses")
    if as_array(offset).ndim == 0:
        expect_number("offset", offset)
        offset = jnp.broadcast_to(as_array(offset), rule.num_tasks)
    else:
        offset = expect_per_task("offset", offset, rule.num_tasks)  # pyright: ignore[reportArgumentType]
    least = rule.least_losses
    least = None if least is None else least + offset
    return Aggregator(rule.on(OffsetProblem(None, offset).view, least_losses=least))


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["problem", "offset"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class OffsetProblem(MappedProblem):
    """A problem of which every loss is that of another, less an offset.

    The loss of an absent task stays what it is.

    Attributes:
      offset: b, ``[K]``.
    """

    offset: Any

    @override
    def of_losses(
        self, losses: Float[Array, " K"], present: Bool[Array, " K"]
    ) -> Mapped:
        offset = jnp.asarray(self.offset, losses.dtype)
        return jnp.where(present, losses - offset, losses), jnp.ones_like(losses)
