"""The gradients of one parameter as sums of outer products, never written out."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.linalg import divide_or_zero
from mtopt.long_products import flat_products


class OuterProducts:
    r"""K gradients of one parameter, each a sum over samples of outer products.

    .. math:: g_k = A^\top D_k, \qquad
       \langle g_k, g_l \rangle = \langle (A A^\top) D_k, D_l \rangle, \qquad
       \sum_k w_k g_k = A^\top \sum_k w_k D_k

    A is what the layer multiplies with the parameter, the same for all tasks, and
    :math:`D_k` the gradient of task k with respect to the product.

    Args:
      activations: A, ``[b, i]``.
      deltas: D, ``[K, b, o]``.
      back: from a matrix ``[i, o]`` to the shape and dtype of the parameter.
    """

    def __init__(
        self,
        activations: Float[Array, "b i"],
        deltas: Float[Array, "K b o"],
        back: Callable[[Float[Array, "i o"]], Array],
    ) -> None:
        self._activations = activations
        self._deltas = deltas
        self._back = back

    def products(self) -> tuple[Float[Array, " K"], Float[Array, "K K"]]:
        """The Gramian as units of each task, and what it is in these units.

        Both factors are divided by their largest entries on the way, so that nothing
        overflows that is finite, and small gradients are not lost.
        """
        wide = jnp.promote_types(self._deltas.dtype, jnp.float32)
        a, d = self._activations.astype(wide), self._deltas.astype(wide)
        of_a = jnp.max(jnp.abs(a), initial=0)
        of_d = jnp.max(jnp.abs(d), axis=(1, 2), initial=0)
        a = a * divide_or_zero(1.0, of_a)
        inverse = divide_or_zero(1.0, of_d)
        inner = jnp.matmul(a, a.T, precision=jax.lax.Precision.HIGHEST)
        moved = jnp.matmul(
            inverse[:, None, None] * inner[None], d, precision=jax.lax.Precision.HIGHEST
        )
        flat = (len(d), -1)
        products = flat_products(d.reshape(flat), moved.reshape(flat))
        products = inverse[:, None] * products
        return of_a * of_d, (products + products.T) / 2

    def combine(self, weights: Float[Array, " K"]) -> Array:
        """The weighted sum of the gradients, in the parameter's shape.

        Args:
          weights: ``[K]``.
        """
        wide = jnp.promote_types(self._deltas.dtype, jnp.float32)
        options = {
            "precision": jax.lax.Precision.HIGHEST,
            "preferred_element_type": wide,
        }
        total = jnp.tensordot(weights.astype(wide), self._deltas, axes=1, **options)
        return self._back(jnp.matmul(self._activations.T, total, **options))

    def where(self, present: Bool[Array, " K"]) -> "OuterProducts":
        """The same with zeros for absent tasks, whatever stood there.

        Args:
          present: ``[K]``.
        """
        deltas = jnp.where(present[:, None, None], self._deltas, 0)
        return OuterProducts(self._activations, deltas, self._back)

    def scaled(self, factor: Float[Array, " K"]) -> "OuterProducts":
        """The same, every task's times a number.

        Args:
          factor: ``[K]``.
        """
        wide = jnp.promote_types(self._deltas.dtype, jnp.float32)
        deltas = self._deltas * factor[:, None, None].astype(wide)
        return OuterProducts(self._activations, deltas, self._back)
