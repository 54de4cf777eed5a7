"""Gates: what each expert weighs for a sample, by a softmax over all or some."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.errors import UserError, expect
from mtopt.models.layers import uniform
from mtopt.models.pure import Factory


class SoftmaxGate(nnx.Linear):
    """A linear layer and a softmax; see :func:`softmax_gate`."""

    def __init__(
        self,
        features: int,
        count: int,
        top: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        init = uniform(features)
        super().__init__(
            features, count, kernel_init=init, bias_init=init, dtype=dtype, rngs=rngs
        )
        self.top = top

    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b E"]:
        """What each expert weighs for each sample; the weights sum to 1."""
        logits = super().__call__(flattened(x, self.in_features))
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if self.top < logits.shape[1]:
            least = jax.lax.top_k(logits, self.top)[0][:, -1:]
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        return jax.nn.softmax(logits)


def flattened(x: Float[Array, "b ..."], features: int) -> Float[Array, "b features"]:
    """What a gate reads, as vectors.

    Raises:
      UserError: for vectors of another size.
    """
    x = x.reshape(x.shape[0], -1)
    if x.shape[1] != features:
        raise UserError(
            f"a gate of {features} features reads inputs of {x.shape[1]} numbers: "
            "expected as many as there are"
        )
    return x


def softmax_gate(
    features: int,
    count: int,
    *,
    top: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Factory:
    r"""A gate that weighs experts by a softmax of a linear layer.

    .. math:: w(x) = \mathrm{softmax}(x G + b)

    Args:
      features: the numbers of one input that the gate reads, flattened.
      count: E, of all experts that it weighs, at least 1.
      top: the experts with the largest logits that a sample is mixed of, 1 to E; the
        softmax is over these. None: all.
      dtype: what the layer computes in; the softmax is in float32 at least.

    Returns:
      What makes a module ``x [b, ...] -> weights [b, E]``.

    Raises:
      UserError: for another ``count`` or ``top``, and in use for other inputs.

    Example:
      >>> gate = softmax_gate(3, 4, top=2)(nnx.Rngs(0))
      >>> weights = gate(jnp.ones((5, 3)))
      >>> weights.shape, int((weights[0] > 0).sum())
      ((5, 4), 2)
    """
    expect(count >= 1, "count", count, "at least 1")
    top = count if top is None else top
    expect(1 <= top <= count, "top", top, f"from 1 to {count}, as many as there are")
    return lambda rngs: SoftmaxGate(features, count, top, dtype=dtype, rngs=rngs)
