r"""Experts that all tasks share, and gates of each task that mix them.

:func:`experts` makes several copies of any module, :func:`gated` puts a task's gate in
front of any head: with :math:`f_e(x)` the experts and :math:`w_k(x)` a task's gate,

.. math:: z_k = \sum_e w_{k,e}(x)\, f_e(x)
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.beside import Beside
from mtopt.errors import expect
from mtopt.models.layers import as_floats, dense
from mtopt.models.pure import Factory


class Experts(nnx.Module):
    """Copies of a module on one input; see :func:`experts`."""

    def __init__(self, make: Factory, count: int, rngs: nnx.Rngs) -> None:
        # One stacked module: a program does not grow with the number of experts.
        build = nnx.split_rngs(splits=count)(nnx.vmap(make, in_axes=0, out_axes=0))
        self.stack = build(rngs)

    def __call__(self, x: Num[Array, "b ..."]) -> dict[str, Any]:
        """The outputs ``[b, E, ...]``, and beside them what gates read."""
        each = nnx.vmap(lambda expert, x: expert(x), in_axes=(0, None), out_axes=1)
        outputs = each(self.stack, x)
        flat = as_floats(x, outputs.dtype).reshape(x.shape[0], -1)
        return {"experts": outputs, "gate": Beside(flat)}


class Gated(nnx.Module):
    """A gate over experts, then a head; see :func:`gated`."""

    def __init__(
        self,
        make: Factory,
        features: int,
        count: int,
        top: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.gate = dense(features, count, dtype=dtype, rngs=rngs)
        self.head = make(rngs)
        self.top = top

    def weights(self, x: Float[Array, "b features"]) -> Float[Array, "b E"]:
        """What each expert weighs for each sample; they sum to 1."""
        logits = self.gate(x)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if self.top < logits.shape[1]:
            least = jax.lax.top_k(logits, self.top)[0][:, -1:]
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        return jax.nn.softmax(logits)

    def __call__(self, z: dict[str, Any]) -> Array:
        """The head on the mixture."""
        weights = self.weights(z["gate"]).astype(z["experts"].dtype)
        return self.head(jnp.einsum("be,be...->b...", weights, z["experts"]))


def experts(make: Factory, count: int) -> Factory:
    """Several copies of a module, which start apart from each other.

    Args:
      make: makes one expert, ``x -> [B, ...]``; any NNX module.
      count: E, at least 1.

    Returns:
      What makes a module ``x -> {"experts": [B, E, ...], "gate": x}``, in which the
      flattened input is :class:`mtopt.Beside` the representation. Parameters have a
      leading axis E; every expert drops units of its own.

    Raises:
      UserError: for another count.
    """
    expect(count >= 1, "count", count, "at least 1")
    return lambda rngs: Experts(make, count, rngs)


def gated(
    head: Factory,
    features: int,
    count: int,
    *,
    top: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Factory:
    r"""A head that first mixes experts by a gate of its task's own.

    .. math:: w_k(x) = \mathrm{softmax}(x G_k + b_k)

    Args:
      head: makes the part of one task behind the mixture, ``[B, ...] -> outputs``.
      features: the number of inputs that the gate reads.
      count: E, of the experts.
      top: the experts with the largest logits that a sample is mixed of, 1 to E; the
        softmax is over these. None: all.
      dtype: what the gate computes in; its softmax is in float32 at least.

    Returns:
      What makes a module on the output of :func:`experts`. The gate is the task's own.

    Raises:
      UserError: for another ``top``.

    Example:
      >>> from mtopt.models import functional
      >>> expert = lambda rngs: nnx.Linear(3, 4, rngs=rngs)
      >>> head = lambda rngs: nnx.Linear(4, 2, rngs=rngs)
      >>> model = functional(experts(expert, 5), gated(head, 3, 5), ("a", "b"),
      ...                    kind="classification")
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["shared"]["stack"]["kernel"].shape
      (5, 3, 4)
      >>> params["tasks"].values["gate"]["kernel"].shape
      (2, 3, 5)
      >>> model.predict(params, model_state, jnp.ones((6, 3))).shape
      (2, 6, 2)
    """
    top = count if top is None else top
    expect(1 <= top <= count, "top", top, f"from 1 to {count}, as many as there are")
    return lambda rngs: Gated(head, features, count, top, dtype=dtype, rngs=rngs)
