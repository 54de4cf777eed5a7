"""The gate of DSelect-k: a few selectors, each of which comes to choose one expert."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.errors import expect, expect_number
from mtopt.models.gates import flattened
from mtopt.models.pure import Factory


def smooth_step(x: Float[Array, "..."], gamma: float) -> Float[Array, "..."]:
    r"""From 0 to 1 along a cubic, exactly 0 and 1 outside of it.

    .. math:: S(x) = \tfrac12 + \tfrac{3x}{2\gamma} - \tfrac{2x^3}{\gamma^3}, \qquad
              |x| \le \gamma / 2

    Args:
      x: any numbers.
      gamma: the width of the cubic, above 0.

    Example:
      >>> smooth_step(jnp.array([-0.5, 0.0, 0.25, 0.5]), 1.0).tolist()
      [0.0, 0.5, 0.84375, 1.0]
    """
    t = jnp.clip(x / gamma, -0.5, 0.5)
    return 0.5 + 1.5 * t - 2 * t**3


class SelectorGate(nnx.Module):
    """Selectors of binary codes, mixed by a softmax; see :func:`selector_gate`."""

    def __init__(
        self,
        count: int,
        selectors: int,
        features: int | None,
        gamma: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        bits = (count - 1).bit_length()
        # As the authors' code starts: undecided, whatever gamma is.
        start = gamma / 100
        self.codes = _Scores((selectors, bits), features, start, dtype, rngs)
        self.mix = _Scores((selectors,), features, 0.05, dtype, rngs)
        self.count = count
        self.gamma = gamma

    def selections(self, x: Float[Array, "b ..."]) -> Float[Array, "b k E"]:
        """How far each selector has chosen each expert; over experts they sum to 1."""
        bits = smooth_step(self.codes(x), self.gamma)
        codes = jnp.ones((*bits.shape[:-1], 1), bits.dtype)
        for i in range(bits.shape[-1]):
            bit = bits[..., i, None]
            codes = jnp.concatenate([codes * (1 - bit), codes * bit], axis=-1)
        # Code c is that of expert c, and of expert c - E where there are only E.
        owner = np.arange(codes.shape[-1])[:, None] % self.count
        return codes @ jnp.asarray(owner == np.arange(self.count), codes.dtype)

    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b E"]:
        """What each expert weighs for each sample; the weights sum to 1."""
        shares = jax.nn.softmax(self.mix(x))
        return jnp.einsum("bk,bke->be", shares, self.selections(x))


class _Scores(nnx.Module):
    """Numbers of any shape: the same for all samples, or a linear layer of them."""

    def __init__(
        self,
        shape: tuple[int, ...],
        features: int | None,
        bound: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        def drawn(*shape: int) -> nnx.Param:
            key = rngs.params()
            draw = jax.random.uniform(key, shape, jnp.float32, -bound, bound)
            return nnx.Param(draw)

        size = math.prod(shape)
        self.shape, self.dtype = shape, dtype
        self.bias = drawn(size)
        self.kernel = None if features is None else drawn(features, size)

    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The numbers of every sample, in float32 at least."""
        bias = self.bias[...]
        found = jnp.broadcast_to(bias, (x.shape[0], bias.size))
        if self.kernel is not None:
            kernel = self.kernel[...].astype(self.dtype)
            inputs = flattened(x, len(kernel)).astype(self.dtype)
            found = found + (inputs @ kernel).astype(bias.dtype)
        return found.reshape(x.shape[0], *self.shape)


def selector_gate(
    count: int,
    selectors: int,
    *,
    features: int | None = None,
    gamma: float = 1.0,
    dtype: DTypeLike = jnp.float32,
) -> Factory:
    r"""A sparse gate that is smooth in its parameters, of at most k experts in the end.

    Each of k selectors has a number :math:`z_j` for every bit of an expert's code, and
    chooses expert e, whose bits are :math:`c_j(e)`, by

    .. math:: r_e(z) = \prod_j S(z_j)^{c_j(e)} (1 - S(z_j))^{1 - c_j(e)}, \qquad
              w_e = \sum_{i=1}^{k} \mathrm{softmax}(\alpha)_i\, r_e(z^{(i)})

    with S the :func:`smooth_step`. Where all :math:`|z_j| \ge \gamma / 2` a selector
    has chosen one expert: the weight of all others is exactly 0, and so is the gradient
    of its code, which stays. At first all codes weigh nearly alike. Selectors may
    choose the same expert, so that k is a bound.

    Args:
      count: E, of all experts, at least 2.
      selectors: k, 1 to E.
      features: the numbers of one input, flattened, where codes and mixture are linear
        in the input, one choice a sample; None for the same choice for all samples.
      gamma: the width of the smooth step, above 0. Gates that differ in it alone have
        the same parameters: a smaller one later decides what is undecided.
      dtype: what the linear layers compute in; weights are in float32 at least.

    Returns:
      What makes a module ``x [b, ...] -> weights [b, E]``.

    Raises:
      UserError: for an option out of range, and in use for other inputs.

    Example:
      >>> gate = selector_gate(4, 2)(nnx.Rngs(0))
      >>> weights = gate(jnp.ones((3, 7)))
      >>> weights.shape, (4 * weights[0]).round(1).tolist()
      ((3, 4), [1.0, 1.0, 1.0, 1.0])

    References:
      Hazimeh et al., DSelect-k: Differentiable Selection in the Mixture of Experts with
      Applications to Multi-Task Learning, NeurIPS 2021, arXiv 2106.03760.

    Differences from the paper:
      Where E is no power of 2, some codes have no expert there, and a penalty
      :math:`1 / \sum_e r_e` keeps selectors away from them. Here such a code is a
      second one of an expert, so that weights sum to 1 at any parameters; experts with
      two codes weigh twice as much at first. There is no penalty on the entropy of
      selections, which hastens decisions there: a head has one loss, that of its
      labels, which methods compare. A smaller ``gamma`` does that.
    """
    expect(count >= 2, "count", count, "at least 2 experts to choose from")
    within = 1 <= selectors <= count
    expect(within, "selectors", selectors, f"from 1 to {count}, as many as there are")
    expect_number("gamma", gamma, above=0)
    return lambda rngs: SelectorGate(
        count, selectors, features, gamma, dtype=dtype, rngs=rngs
    )
