"""Experts of which the known domain of a sample picks one."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from mtopt.errors import UserError, expect
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack

FIELDS = {"inputs", "domain"}


class Routed(nnx.Module):
    """One expert for every domain; see :func:`routed`."""

    def __init__(self, make: Factory, count: int, rngs: nnx.Rngs) -> None:
        self.experts = Stack(make, count, rngs)
        # Copies of one: at first the domain says nothing. Each drops its own units.
        first = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape),
            nnx.state(self.experts, nnx.Param),
        )
        nnx.update(self.experts, first)
        self.count = count

    def __call__(self, x: Any) -> Float[Array, "b ..."]:
        """What the expert of each sample's domain says of it."""
        if not isinstance(x, dict) or x.keys() != FIELDS:
            found = sorted(x) if isinstance(x, dict) else type(x).__name__
            raise UserError(
                f"inputs of routed experts are {found}: expected a dict of "
                f"{sorted(FIELDS)}"
            )
        inputs, domain = x["inputs"], x["domain"]
        whole = jnp.issubdtype(domain.dtype, jnp.integer)
        if not whole or domain.shape != inputs.shape[:1]:
            raise UserError(
                f"domain is {domain.dtype}{list(domain.shape)}: expected integers "
                f"{list(inputs.shape[:1])}, one of each sample"
            )
        return chosen(self.experts(inputs), domain)


def chosen(
    outputs: Float[Array, "b E ..."], domain: Int[Array, " b"]
) -> Float[Array, "b ..."]:
    """Of every sample the output of one expert; NaN where there is no such expert.

    Example:
      >>> outputs = jnp.array([[1.0, 2], [3, 4], [5, 6]])
      >>> chosen(outputs, jnp.array([1, 0, -1])).tolist()
      [2.0, 3.0, nan]
    """
    # An index below zero would count from the end.
    place = jnp.where(domain < 0, outputs.shape[1], domain)
    place = place.reshape(-1, *[1] * (outputs.ndim - 1))
    return jnp.take_along_axis(outputs, place, axis=1, mode="fill")[:, 0]


def routed(make: Factory, count: int) -> Factory:
    r"""An expert for every domain, all of which start as copies of one.

    .. math:: z = f_{d(x)}(x)

    A domain, such as the shop or the language that a sample is from, is known, so that
    nothing has to learn where a sample goes. At first the domain says nothing: the
    module is its expert. One that was trained is where all start if its parameters are
    repeated along the axis of experts.

    Args:
      make: makes one expert, ``inputs [b, ...] -> [b, ...]``; any NNX module.
      count: E, the number of domains, at least 1.

    Returns:
      What makes a module ``{"inputs": [b, ...], "domain": int [b]} -> [b, ...]``,
      with domains from 0 to E - 1; the representation of another is NaN. Parameters
      have a leading axis E, and every expert computes every sample: E times the cost
      of one. It stands in an encoder, or is one; the inputs of a model of
      :data:`mtopt.models.MODELS` are one array, so that it is none of these.

    Raises:
      UserError: for another count, and in use for other inputs.

    Example:
      >>> from mtopt.models import functional
      >>> model = functional(
      ...     routed(lambda rngs: nnx.Linear(3, 4, rngs=rngs), 2),
      ...     lambda rngs: nnx.Linear(4, 1, rngs=rngs),
      ...     ("bought", "clicked"), kind="binary")
      >>> params, model_state = model.init(jax.random.key(0))
      >>> x = {"inputs": jnp.ones((5, 3)), "domain": jnp.array([0, 1, 1, 0, 1])}
      >>> model.predict(params, model_state, x).shape
      (2, 5)

    References:
      Hallee et al., Contrastive Learning and Mixture of Experts Enables Precise Vector
      Embeddings, 2024, arXiv 2401.15713.

    Differences from the paper:
      There, experts are the MLPs in the blocks of a pretrained transformer, the domain
      also has a token of its own, and each expert computes the samples of its domain.
    """
    expect(count >= 1, "count", count, "at least 1")
    return lambda rngs: Routed(make, count, rngs)
