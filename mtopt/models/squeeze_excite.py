"""What each field of an input weighs, by what all of them hold."""

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.models.layers import Initializer, dense


class SqueezeExcite(nnx.Module):
    r"""Scores of fields: :math:`W_2\, \mathrm{relu}(W_1\, \mathrm{mean}_d X)`.

    Args:
      fields: F, of an input.
      hidden: the units between.
      start: of the weights and biases that scores come from.
      dtype: what it computes in.
      rngs: of the parameters.

    References:
      Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, arXiv 1709.01507.
    """

    def __init__(
        self,
        fields: int,
        hidden: int,
        *,
        start: Initializer,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.squeeze = dense(fields, hidden, dtype=dtype, rngs=rngs)
        self.excite = nnx.Linear(
            hidden, fields, kernel_init=start, bias_init=start, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b F d"]) -> Float[Array, "b F"]:
        """One score of each field."""
        return self.excite(jax.nn.relu(self.squeeze(x.mean(axis=2))))
