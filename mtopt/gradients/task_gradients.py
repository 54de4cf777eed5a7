"""The gradients of all tasks: asked for inner products, sums and norms."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.gradients.outer_products import OuterProducts
from mtopt.linalg import (
    combine,
    gramian,
    row_norms,
    scale_rows,
    where_present,
)


@dataclasses.dataclass(frozen=True, eq=False)
class TaskGradients:
    """The gradients of K tasks with respect to the shared parameters.

    A method that weighs gradients asks for their inner products, norms and weighted
    sums. How each parameter answers, by rows or without, no method knows.

    Attributes:
      num_tasks: K.
      leaves: a tree like the shared parameters; of each the rows ``[K, ...]``, or
        :class:`mtopt.gradients.outer_products.OuterProducts`.
    """

    num_tasks: int
    leaves: Any

    @property
    def are_rows(self) -> bool:
        """Whether every parameter has its rows."""
        return not self._parts()[1]

    def gramian(self) -> Float[Array, "K K"]:
        """All inner products, as :func:`mtopt.gramian` of the rows."""
        rows, others = self._parts()
        total = gramian(rows) if rows else jnp.zeros((self.num_tasks,) * 2)
        for each in others:
            units, products = each.products()
            total = total + units[:, None] * products * units[None, :]
        return total

    def norms(self) -> Float[Array, " K"]:
        """The lengths, at any scale, as :func:`mtopt.linalg.row_norms` of the rows."""
        rows, others = self._parts()
        found = [row_norms(rows)] if rows else []
        for each in others:
            units, products = each.products()
            squares = jnp.diagonal(products)
            found.append(units * jnp.sqrt(jnp.where(squares > 0, squares, 0)))
        if not found:
            return jnp.zeros(self.num_tasks)
        if len(found) == 1:
            return found[0]
        return row_norms(jnp.stack(found, axis=1))

    def combine(self, weights: Float[Array, " K"]) -> Any:
        """The weighted sum, a tree like the shared parameters.

        Args:
          weights: ``[K]``.
        """
        return self._map(
            functools.partial(combine, weights), lambda each: each.combine(weights)
        )

    def rows(self) -> Any:
        """The gradients themselves, a tree of rows."""
        return self._map(lambda rows: rows, lambda each: each.rows())

    def where(self, present: Bool[Array, " K"]) -> "TaskGradients":
        """These, with zeros for absent tasks.

        Args:
          present: ``[K]``.
        """
        leaves = self._map(
            lambda rows: where_present(present, rows, 0),
            lambda each: each.where(present),
        )
        return TaskGradients(self.num_tasks, leaves)

    def scaled(self, factor: Float[Array, " K"]) -> "TaskGradients":
        """These, every task's times a number.

        Args:
          factor: ``[K]``.
        """
        leaves = self._map(
            functools.partial(scale_rows, factor), lambda each: each.scaled(factor)
        )
        return TaskGradients(self.num_tasks, leaves)

    def _map(
        self, of_rows: Callable[[Any], Any], of_products: Callable[[Any], Any]
    ) -> Any:
        def one(leaf: Any) -> Any:
            known = isinstance(leaf, OuterProducts)
            return of_products(leaf) if known else of_rows(leaf)

        return jax.tree.map(one, self.leaves)

    def _parts(self) -> tuple[list[Array], list[OuterProducts]]:
        rows: list[Array] = []
        others: list[OuterProducts] = []
        for leaf in jax.tree.leaves(self.leaves):
            if isinstance(leaf, OuterProducts):
                others.append(leaf)
            else:
                rows.append(leaf)
        return rows, others
