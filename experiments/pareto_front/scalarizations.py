"""Scalarisations of the losses by a preference."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtopt.errors import expect
from mtopt.methods.cosmos_scalarization import cosmos_loss
from mtopt.methods.smooth_tchebycheff import smooth_tchebycheff_loss


class Scalarization(NamedTuple):
    """One loss out of K, and where it wants them.

    Attributes:
      loss: ``(losses, preference, present) -> scalar``.
      ray: preferences ``[..., K]`` to the directions ``[..., K]`` of losses that the
        scalarisation draws its minimiser to; None if there is no such direction.
    """

    loss: Callable[..., Float[Array, ""]]
    ray: Callable[[np.ndarray], np.ndarray] | None


def linear() -> Scalarization:
    """The weighted sum: p . L."""
    return Scalarization(lambda losses, p, present: p @ losses, None)


def smooth_tchebycheff(*, mu: float = 0.1) -> Scalarization:
    """A soft maximum of p_k L_k, of smoothness ``mu`` above 0: L towards 1 / p."""
    expect(mu > 0, "mu", mu, "a number above 0")

    def loss(
        losses: Float[Array, " K"], p: Float[Array, " K"], present: Bool[Array, " K"]
    ) -> Float[Array, ""]:
        return smooth_tchebycheff_loss(losses, p, jnp.zeros_like(p), mu, present)

    return Scalarization(loss, lambda p: 1 / p)


def cosmos(*, penalty: float = 2.0) -> Scalarization:
    """The weighted sum less ``penalty`` (0 or more) times cos(p, L): L towards p."""
    expect(penalty >= 0, "penalty", penalty, "a number of at least 0")

    def loss(
        losses: Float[Array, " K"], p: Float[Array, " K"], present: Bool[Array, " K"]
    ) -> Float[Array, ""]:
        return cosmos_loss(losses, p, penalty, present)

    return Scalarization(loss, lambda p: p)


SCALARIZATIONS: dict[str, Callable[..., Scalarization]] = {
    function.__name__: function for function in (cosmos, linear, smooth_tchebycheff)
}
"""Every scalarisation by its name."""
