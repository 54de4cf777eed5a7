"""The gradients of one parameter as sums of outer products, never written out."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.columns import along, sum_over_axis
from mtopt.linalg import combine, divide_or_zero, scale_rows, where_present
from mtopt.long_products import flat_products


@dataclasses.dataclass(frozen=True, eq=False)
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
      precision: of the layer's own product; its rows are written in the same.
    """

    activations: Float[Array, "b i"]
    deltas: Float[Array, "K b o"]
    back: Callable[[Float[Array, "i o"]], Array]
    precision: Any

    def products(self) -> tuple[Float[Array, " K"], Float[Array, "K K"]]:
        """The Gramian as units of each task, and what it is in these units.

        Both factors are divided by their largest entries on the way, so that nothing
        overflows that is finite, and small gradients are not lost.
        """
        d = self._wide
        a = self.activations.astype(d.dtype)
        of_a = jnp.max(jnp.abs(a), initial=0)
        of_d = jnp.max(jnp.abs(d), axis=(1, 2), initial=0)
        a = a * divide_or_zero(1.0, of_a)
        inverse = divide_or_zero(1.0, of_d)
        inner = sum_over_axis(lambda a: _matmul(a, a.T), 1, a)

        def of(d: Array) -> Array:
            moved = _matmul(inverse[:, None, None] * inner[None], d)
            flat = (len(d), -1)
            return flat_products(d.reshape(flat), moved.reshape(flat))

        products = inverse[:, None] * sum_over_axis(of, 2, d)
        return of_a * of_d, (products + products.T) / 2

    def combine(self, weights: Float[Array, " K"]) -> Array:
        """The weighted sum of the gradients, in the parameter's shape.

        Args:
          weights: ``[K]``.
        """
        total = combine(weights, self._wide)
        product = jnp.matmul(
            along(1, self.activations).T,
            total,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=total.dtype,
        )
        return self.back(along(0, product))

    def rows(self) -> Float[Array, "K ..."]:
        """The gradients, written out in the parameter's shape.

        As one product with a task axis; one task after another where that would copy
        more of A for each than it writes.
        """

        def of_task(deltas: Float[Array, "b o"], activations: Array) -> Array:
            product = jnp.matmul(
                activations,
                deltas,
                precision=self.precision,
                preferred_element_type=wide.dtype,
            )
            return self.back(product)

        wide = self._wide
        few = wide.shape[1] <= wide.shape[2]
        a = self.activations.T
        if not few:
            return jax.lax.map(lambda own: of_task(own, a), wide)
        return jax.vmap(of_task)(wide, jnp.broadcast_to(a, (len(wide), *a.shape)))

    def where(self, present: Bool[Array, " K"]) -> "OuterProducts":
        """The same with zeros for absent tasks, whatever stood there.

        Args:
          present: ``[K]``.
        """
        return dataclasses.replace(self, deltas=where_present(present, self.deltas, 0))

    def scaled(self, factor: Float[Array, " K"]) -> "OuterProducts":
        """The same, every task's times a number.

        Args:
          factor: ``[K]``.
        """
        return dataclasses.replace(self, deltas=scale_rows(factor, self._wide))

    @property
    def _wide(self) -> Float[Array, "K b o"]:
        """The deltas in float32 at least, in which they are multiplied and summed."""
        return self.deltas.astype(jnp.promote_types(self.deltas.dtype, jnp.float32))


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
