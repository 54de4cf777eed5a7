"""How much columns of categories say of one another."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from mtopt.errors import UserError


def mutual_information(columns: npt.ArrayLike) -> Float[np.ndarray, "F F"]:
    r"""The mutual information of every two columns, in nats.

    .. math:: I(u, v) = \sum_{a, b} p(a, b) \log \frac{p(a, b)}{p(a) \, p(b)}

    with the shares of the rows for p; on the diagonal stands a column's entropy. A
    column of numbers is taken for one of categories: put them into bins before.

    Args:
      columns: ``[n, F]``, F categories of each of n samples, of any type that can be
        sorted.

    Returns:
      A symmetric matrix, at least 0.

    Raises:
      UserError: for an array of another rank, or without rows.

    Example:
      >>> columns = np.array([[0, 5, 0], [1, 7, 0], [0, 5, 1], [1, 7, 1]])
      >>> print(mutual_information(columns).round(3))
      [[0.693 0.693 0.   ]
       [0.693 0.693 0.   ]
       [0.    0.    0.693]]
    """
    columns = np.asarray(columns)
    if columns.ndim != 2 or not columns.size:
        raise UserError(
            f"columns have shape {columns.shape}: expected [samples, fields], one "
            "category each"
        )
    codes = [np.unique(column, return_inverse=True)[1] for column in columns.T]
    sizes = [code.max() + 1 for code in codes]
    entropy = [_entropy(code) for code in codes]
    found = np.diag(entropy)
    for u in range(len(codes)):
        for v in range(u):
            joint = _entropy(codes[u] * sizes[v] + codes[v])
            found[u, v] = found[v, u] = max(entropy[u] + entropy[v] - joint, 0)
    return found


def _entropy(codes: np.ndarray) -> float:
    """That of the shares of the codes, in nats."""
    counts = np.bincount(codes)
    shares = counts[counts > 0] / len(codes)
    return float(-(shares * np.log(shares)).sum())
