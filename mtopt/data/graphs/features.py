"""Node features as a sparse matrix plus one of low rank, never made dense."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mtopt.data.graphs.sparse import sparse_product


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Features:
    r"""Features ``[N, F]`` of N nodes, as sparse entries plus a product.

    .. math:: X = S + L R, \qquad S_{r_m c_m} = v_m

    Bags of words have 1 % of their entries, and what is done to them keeps this form:
    standardised columns (L = -1, R the scaled means), masked nodes that all hold one
    token, masked columns, samples and shuffles of nodes. Dense features are ``S = 0``,
    ``L = X`` and ``R = I``, at F/N extra cost. On a CPU, with the words of Cora, a
    product with a ``[F, 128]`` kernel takes a fifth of the dense one's time.

    Args:
      rows: of the entries, ``[M]``, each in [0, N); others are padding. No two entries
        have one place.
      columns: of the entries, ``[M]``.
      values: of the entries, ``[M]``.
      left: L, ``[N, R]``.
      right: R, ``[R, F]``.

    Example:
      >>> x = Features.dense(jnp.array([[1., 2.], [3., 4.]]))
      >>> x.project(jnp.eye(2)).tolist(), x.squared_norms().tolist()
      ([[1.0, 2.0], [3.0, 4.0]], [5.0, 25.0])
    """

    rows: Any
    columns: Any
    values: Any
    left: Any
    right: Any

    @classmethod
    def dense(cls, x: Float[Array, "N F"]) -> "Features":
        """Features that are all stored."""
        nowhere = jnp.zeros(0, jnp.int32)
        none = jnp.zeros(0, x.dtype)
        return cls(nowhere, nowhere, none, x, jnp.eye(x.shape[1], dtype=x.dtype))

    @classmethod
    def sparse(
        cls,
        rows: Int[np.ndarray, " M"],
        columns: Int[np.ndarray, " M"],
        values: Float[np.ndarray, " M"],
        shape: tuple[int, int],
        shift: Float[np.ndarray, " F"] | None = None,
    ) -> "Features":
        """Features that are zero but for some entries, all columns then shifted.

        Args:
          rows: of the entries.
          columns: of the entries.
          values: of the entries.
          shape: N and F.
          shift: what is subtracted from every node's features; None for nothing.
        """
        rank = 0 if shift is None else 1
        right = np.zeros((0, shape[1])) if shift is None else -shift[None]
        arrays = (
            np.array(rows, np.int32),
            np.array(columns, np.int32),
            np.array(values, np.float32),
            np.ones((shape[0], rank), np.float32),
            np.array(right, np.float32),
        )
        return cls(*jax.device_put(arrays))

    @property
    def shape(self) -> tuple[int, int]:
        """N and F."""
        return self.left.shape[0], self.right.shape[1]

    def project(self, kernel: Float[Array, "F D"]) -> Float[Array, "N D"]:
        """``X @ kernel``."""
        words = sparse_product(
            self.rows, self.columns, self.values, kernel, self.shape[0]
        )
        return words + self.left @ (self.right @ kernel)

    def squared_norms(self) -> Float[Array, " N"]:
        """The squared length of every node's features."""
        other = (self.left[self.rows] * self.right.T[self.columns]).sum(axis=1)
        rank = ((self.left @ (self.right @ self.right.T)) * self.left).sum(axis=1)
        return self._sum(self.values**2 + 2 * self.values * other) + rank

    def keep_columns(self, keep: Bool[Array, " F"]) -> "Features":
        """Zeros in all columns but some."""
        values = self.values * keep[self.columns]
        right = self.right * keep[None]
        return dataclasses.replace(self, values=values, right=right)

    def replace_rows(
        self, which: Bool[Array, " N"], row: Float[Array, " F"]
    ) -> "Features":
        """One row of features in place of those of some nodes."""
        keep = ~which
        return dataclasses.replace(
            self,
            values=self.values * keep[self.rows],
            left=jnp.concatenate(
                [self.left * keep[:, None], which[:, None].astype(self.left.dtype)],
                axis=1,
            ),
            right=jnp.concatenate([self.right, row[None]]),
        )

    def take(
        self, nodes: Int[Array, " n"], real: Bool[Array, " n"], place: Int[Array, " N"]
    ) -> "Features":
        """The features of some nodes, in their order.

        Args:
          nodes: which; each at most once.
          real: False where an entry of ``nodes`` is padding: its features are zeros.
          place: the position of every node in ``nodes``, n for those not in it.
        """
        rows = place.at[self.rows].get(mode="fill", fill_value=len(nodes))
        left = self.left[nodes] * real[:, None]
        return dataclasses.replace(self, rows=rows, left=left)

    def _sum(self, entries: Array) -> Array:
        return jax.ops.segment_sum(entries, self.rows, self.left.shape[0])
