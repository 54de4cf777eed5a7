"""Tokens for an input that a sample lacks, chosen by one that it has."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError, expect
from mtopt.models.pure import Factory


class TokenPool(nnx.Module):
    """Learned tokens that stand in for absent ones; see :func:`token_pool`."""

    def __init__(self, entries: int, k: int, features: int, rngs: nnx.Rngs) -> None:
        draw = jax.random.normal(rngs.params(), (entries, features), jnp.float32)
        self.pool = nnx.Param(0.02 * draw)
        self.k = k

    def __call__(
        self,
        tokens: Float[Array, "b k d"],
        present: Bool[Array, " b"],
        query: Float[Array, "b d"],
    ) -> Float[Array, "b k d"]:
        """The tokens, or those that the query chooses where a sample has none."""
        pool = self.pool[...]
        expected = len(query), self.k, pool.shape[1]
        if tokens.shape != expected or query.shape[1:] != expected[2:]:
            raise UserError(
                f"tokens {tokens.shape} and query {query.shape} of a pool: expected "
                f"tokens {expected} and a query of {expected[2]} numbers"
            )
        _, chosen = jax.lax.top_k(query @ pool.T, self.k)
        return jnp.where(present[:, None, None], tokens, pool[chosen])


def token_pool(entries: int, k: int, *, features: int) -> Factory:
    r"""A pool of learned tokens for one of two inputs, where a sample has the other.

    With V the pool and q a vector made of the input that is there, such as the mean of
    its tokens, the absent input is the k entries with the largest

    .. math:: q^\top v_j, \qquad v_j \in V

    A constant in place of an absent input says the same of every sample; entries that
    the other input chooses can say what is likely. The choice has no gradient: q gets
    none, and an entry that no sample chose has the gradient 0.

    Args:
      entries: how many tokens there are to choose from, k or more.
      k: how many stand in, 1 or more: as many as the input has where it is there.
      features: d, the size of a token.

    Returns:
      What makes a module for an encoder, called as ``(tokens [b, k, d], present [b],
      query [b, d]) -> [b, k, d]``: the tokens themselves where ``present``. What stands
      behind an absent one is not read, and has to be finite. Entries start from
      N(0, 0.02²).

    Raises:
      UserError: for numbers out of range, and in use for other shapes.

    Example:
      >>> pool = token_pool(8, 2, features=3)(nnx.Rngs(0))
      >>> tokens, query = jnp.ones((2, 2, 3)), jnp.ones((2, 3))
      >>> found = pool(tokens, jnp.array([True, False]), query)
      >>> found.shape, found[0].tolist()
      ((2, 2, 3), [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])

    References:
      Chen et al., Towards Unifying Medical Vision-and-Language Pre-training via Soft
      Prompts, 2023, arXiv 2302.08958.

    Differences from the paper:
      The tokens that mark the beginning and end of the absent input are left to the
      encoder around the pool.
    """
    expect(k >= 1, "k", k, "1 or more")
    expect(entries >= k, "entries", entries, f"k, which is {k}, or more")
    expect(features >= 1, "features", features, "1 or more")
    return lambda rngs: TokenPool(entries, k, features, rngs)
