"""Comparisons whose tolerance is a share of the size of what is compared."""

from typing import Any

import jax
import numpy as np


def assert_close(actual: Any, expected: Any, *, rtol: float, of: Any = None) -> None:
    """Arrays, or trees of them, differ by a share of their size.

    The rounding of a sum is a share of its largest terms. An entry near zero is what is
    left of terms that cancelled: how many of its own digits are right depends on the
    order of the sum, which is another on another processor. So differences are measured
    against the largest entry.

    Args:
      actual: an array, or a tree of arrays.
      expected: a tree of the same structure.
      rtol: the largest difference, as a share of the largest absolute entry of the
        expected array.
      of: what was summed, of which that share is in place of the expected array's.
    """

    def close(found: Any, wanted: Any) -> None:
        terms = np.asarray(wanted if of is None else of, np.float64)
        size = np.max(np.abs(terms), initial=0.0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=rtol * size)

    jax.tree.map(close, actual, expected)
