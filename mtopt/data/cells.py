"""Entries of a sparse table, each cell once."""

import numpy as np
from jaxtyping import Float, Int, Num


def summed_cells(
    rows: Int[np.ndarray, " E"],
    columns: Int[np.ndarray, " E"],
    values: Num[np.ndarray, " E"],
    width: int,
) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """The entries by row and column, those of one cell added up.

    Args:
      rows: of every entry, ``[E]``.
      columns: in [0, width).
      values: of every entry.
      width: how many columns the table has.

    Returns:
      Rows, columns and sums, sorted by row and then column.

    Example:
      >>> rows, columns = np.array([1, 0, 1]), np.array([2, 0, 2])
      >>> [a.tolist() for a in summed_cells(rows, columns, np.array([1., 5., 2.]), 3)]
      [[0, 1], [0, 2], [5.0, 3.0]]
    """
    cells, entry = np.unique(rows * width + columns, return_inverse=True)
    totals = np.bincount(entry, values.astype(np.float64), minlength=len(cells))
    return *np.divmod(cells, width), totals
