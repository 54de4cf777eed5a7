"""One vector of a sequence: the mean, the last place, or an attention of low rank."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mtopt.errors import expect
from mtopt.models.layers import glorot
from mtopt.models.pure import Factory


def mean_of_places(
    tokens: Float[Array, "b l d"], mask: Bool[Array, "b l"]
) -> Float[Array, "b d"]:
    """The mean over the places that are there, 0 where none is.

    Example:
      >>> mean_of_places(jnp.array([[[1.], [3.], [9.]]]),
      ...                jnp.array([[True, True, False]])).tolist()
      [[2.0]]
    """
    real = jnp.where(mask[..., None], tokens, 0)
    count = jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
    return real.sum(axis=1) / count.astype(tokens.dtype)


def last_place(
    tokens: Float[Array, "b l d"], mask: Bool[Array, "b l"]
) -> Float[Array, "b d"]:
    """The last place that is there, 0 where none is.

    Example:
      >>> last_place(jnp.array([[[1.], [3.], [9.]]]),
      ...            jnp.array([[True, True, False]])).tolist()
      [[3.0]]
    """
    place = jnp.arange(mask.shape[1])[None]
    last = jnp.where(mask, place, -1).max(axis=1, keepdims=True)
    return jnp.where((place == last)[..., None], tokens, 0).sum(axis=1)


class LowRank(nnx.Module):
    """Pooling by an attention of low rank, then a head; see :func:`low_rank`."""

    def __init__(self, make: Factory, width: int, rank: int, rngs: nnx.Rngs) -> None:
        self.context = nnx.Param(glorot(rngs.params(), width, rank))
        self.query = nnx.Param(glorot(rngs.params(), width, rank))
        self.head = make(rngs)

    def weights(self, z: dict[str, Array]) -> Float[Array, "b h l"]:
        """What every place weighs; they sum to 1 over those that are there."""
        tokens = jnp.where(z["mask"][..., None], z["tokens"], 0)
        tokens = tokens.astype(jnp.promote_types(tokens.dtype, jnp.float32))
        context = mean_of_places(tokens, z["mask"]) @ self.context[...]
        each = jnp.einsum("bld,dh->bhl", tokens, self.query[...])
        scores = jnp.tanh(context[..., None] * each)
        square = (scores**2).sum(axis=1, keepdims=True)
        # A score of zeros has no direction, and in its place no slope: the slope of a
        # division by nearly nothing, and its own, are too large for float32.
        some = square > 1e-12
        scores = jnp.where(some, scores / jnp.sqrt(jnp.where(some, square, 1)), 0)
        # Scores are from -1 to 1: no exponential of them is large.
        masses = jnp.where(z["mask"][:, None], jnp.exp(scores), 0)
        return masses / jnp.maximum(masses.sum(axis=-1, keepdims=True), 1e-6)

    def __call__(self, z: dict[str, Array]) -> Array:
        """The head on the pooled tokens, ``[b, h d]``."""
        tokens = jnp.where(z["mask"][..., None], z["tokens"], 0)
        weights = self.weights(z).astype(tokens.dtype)
        pooled = jnp.einsum("bhl,bld->bhd", weights, tokens)
        return self.head(pooled.reshape(pooled.shape[0], -1))


def low_rank(head: Factory, width: int, *, rank: int) -> Factory:
    r"""A head that first pools a sequence by an attention of its task's own.

    With :math:`h_t` the tokens, c their mean, and P and Q of h columns,

    .. math::
       s_t = \tanh\big((P^\top c) \odot (Q^\top h_t)\big), \quad
       a_k = \mathrm{softmax}_t \frac{s_{t,k}}{\|s_t\|_2}, \quad
       z = \Big[\sum_t a_{k,t} h_t\Big]_{k=1}^{h}

    A task pays 2 d h parameters to look where it will. As the scores are at most 1 in
    size, no place weighs more than :math:`e^2` times another: in a long sequence it can
    lean towards a place, not choose one. With h = 1 every score is 1 or -1.

    Args:
      head: makes the part of one task behind it, ``[b, h d] -> outputs``.
      width: d, of a token.
      rank: h, 1 or more.

    Returns:
      What makes a module of ``{"tokens": [b, l, d], "mask": bool [b, l]}``. What stands
      behind the mask has no part in it.

    Raises:
      UserError: for a rank below 1.

    Example:
      >>> head = low_rank(lambda rngs: nnx.Linear(8, 3, rngs=rngs), 4, rank=2)
      >>> tokens, mask = jnp.ones((5, 6, 4)), jnp.ones((5, 6), bool)
      >>> head(nnx.Rngs(0))({"tokens": tokens, "mask": mask}).shape
      (5, 3)

    References:
      Mehta et al., Low Rank Factorization for Compact Multi-Head Self-Attention, 2019,
      arXiv 1912.00835.
    """
    expect(rank >= 1, "rank", rank, "1 or more")
    return lambda rngs: LowRank(head, width, rank, rngs)
