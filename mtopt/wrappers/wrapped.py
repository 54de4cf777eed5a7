"""What a wrapper may stand around."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import weights_of
from mtopt.errors import UserError


def init_wrapped(
    aggregator: optax.GradientTransformation, params: Any
) -> tuple[Any, Float[Array, " K"]]:
    """The initial state of a wrapped aggregator, and a copy of its weights.

    Raises:
      UserError: for a chain, whose other members a wrapper would run in its own rhythm
        too, and for what has no weights.
    """
    state = aggregator.init(params)
    if type(state) is tuple:
        raise UserError(
            "a wrapper of weights got a chain: expected an aggregator alone, such as "
            "mtopt.mgda(3), with the rest of the chain around the wrapper"
        )
    return state, jnp.copy(weights_of(state))
