"""Attention as the models of sequences and of sets have it: flax's, in one form."""

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from mtopt.errors import expect
from mtopt.models.layers import dense


class AttentionBlock(nnx.Module):
    r"""One layer of a transformer: what a set of vectors reads in another.

    .. math::
       z &= q + \mathrm{attention}(\mathrm{norm}(q), \mathrm{norm}(k)) \\
       y &= z + W_2\, \mathrm{gelu}(W_1\, \mathrm{norm}(z))

    with four times the width between :math:`W_1` and :math:`W_2`.

    Args:
      width: of all vectors.
      heads: of the attention; they divide the width.
      dropout: the share of what either line adds that is set to zero in training.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters and of dropout.

    References:
      Vaswani et al., Attention Is All You Need, 2017, arXiv 1706.03762. The
      normalisation stands in front, after Xiong et al., On Layer Normalization in the
      Transformer Architecture, 2020, arXiv 2002.04745.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.norm = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads, width, dtype=dtype, decode=False, keep_rngs=False, rngs=rngs
        )
        self.norm_of_sum = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        self.up = dense(width, 4 * width, dtype=dtype, rngs=rngs)
        self.down = dense(4 * width, width, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self,
        queries: Float[Array, "b q d"],
        keys: Float[Array, "b k d"],
        mask: Bool[Array, "b 1 #q k"] | None = None,
    ) -> Float[Array, "b q d"]:
        """The queries with what they read in the keys that the mask lets them see."""
        read = self.attention(self.norm(queries), self.norm(keys), mask=mask)
        z = queries + self.dropout(read)
        return z + self.dropout(self.down(jax.nn.gelu(self.up(self.norm_of_sum(z)))))


def check_attention(width: int, heads: int, layers: int, dropout: float) -> None:
    """Raises unless these can be the options of layers of attention.

    Raises:
      UserError: for one out of range.
    """
    expect(width >= 1, "width", width, "1 or more")
    fits = heads >= 1 and width % heads == 0
    expect(fits, "heads", heads, f"a divisor of the width, which is {width}")
    expect(layers >= 1, "layers", layers, "1 or more")
    expect(0 <= dropout < 1, "dropout", dropout, "a share in [0, 1)")
