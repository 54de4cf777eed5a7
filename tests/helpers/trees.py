"""Comparisons of trees of arrays, leaf by leaf."""

import jax
import numpy as np


def assert_trees_close(found, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected
    )
