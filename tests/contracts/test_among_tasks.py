"""The middle of the tasks by search is that by sorting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.among_tasks import FEW, the_middle, sum_over_tasks


def by_hand(rows, present, trimmed):
    """Coordinate by coordinate, with Python's stable sort."""
    kept = np.zeros(rows.shape, bool)
    here = np.flatnonzero(present)
    for j in range(rows.shape[1]):
        order = sorted(here, key=lambda k: (np.isnan(rows[k, j]), rows[k, j]))
        kept[order[trimmed : len(order) - trimmed], j] = True
    return kept


@functools.cache
def found(most):
    return jax.jit(functools.partial(the_middle, most=most))


@pytest.mark.parametrize("most", [1, 3, 9])
@pytest.mark.parametrize("absent", [(), (0, 4)])
def test_by_search_and_by_sorting(most, absent):
    rng = np.random.default_rng(most)
    rows = rng.integers(-2, 3, size=(9, 40)).astype("float32")  # many are equal
    rows[2, :5], rows[3, 5:9], rows[5, 9:12] = np.inf, -np.inf, np.nan
    present = np.ones(9, bool)
    present[list(absent)] = False
    for trimmed in range(min(most, 3) + 1):
        middle = found(most)(rows, present, jnp.array(trimmed))
        np.testing.assert_array_equal(middle, by_hand(rows, present, trimmed))


@pytest.mark.parametrize("num_tasks", [3, FEW + 1])
def test_sums(num_tasks):
    rows = np.random.default_rng(0).normal(size=(num_tasks, 4, 5)).astype("float32")
    np.testing.assert_allclose(
        sum_over_tasks(jnp.asarray(rows)), rows.sum(0), rtol=1e-5, atol=1e-6
    )
