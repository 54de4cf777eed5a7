"""The middle of the tasks by search is that by sorting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.among_tasks import FEW, LONG, sum_over_tasks, task_by_task, the_middle
from mtopt.linalg import combine
from tests.helpers.close import assert_close


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


@pytest.mark.parametrize(
    ("num_tasks", "most"), [(FEW, 1), (FEW + 1, 1), (FEW + 1, 3), (FEW + 1, 9)]
)
@pytest.mark.parametrize("absent", [(), (0, 4)])
def test_by_search_and_by_sorting(num_tasks, most, absent):
    rng = np.random.default_rng(most)
    rows = rng.integers(-2, 3, size=(num_tasks, 40)).astype("float32")  # many are equal
    rows[2, :5], rows[3, 5:9], rows[5, 9:12] = np.inf, -np.inf, np.nan
    present = np.ones(num_tasks, bool)
    present[list(absent)] = False
    for trimmed in range(min(most, 3) + 1):
        middle = found(most)(rows, present, jnp.array(trimmed))
        expected = np.where(by_hand(rows, present, trimmed), rows, 0)
        np.testing.assert_array_equal(middle, expected)


@pytest.mark.parametrize("num_tasks", [3, FEW + 1])
def test_a_function_of_one_task(num_tasks):
    rows = np.random.default_rng(0).normal(size=(num_tasks, 4)).astype("float32")
    times = np.arange(num_tasks, dtype="float32")
    found = task_by_task(jnp.multiply, jnp.asarray(times), jnp.asarray(rows))
    np.testing.assert_array_equal(found, times[:, None] * rows)


@pytest.mark.parametrize("num_tasks", [FEW, FEW + 1])
def test_weighted_sums_of_long_rows(num_tasks):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(num_tasks, LONG)).astype("float32")
    weights = rng.normal(size=num_tasks).astype("float32")
    found = combine(jnp.asarray(weights), jnp.asarray(rows))
    assert_close(found, weights @ rows, rtol=1e-5)
    halves = jnp.asarray(rows, jnp.bfloat16)
    found = combine(jnp.asarray(weights), halves)
    assert found.dtype == jnp.bfloat16  # summed in float32, and rounded once
    expected = jnp.asarray(weights @ np.asarray(halves, "float32"), jnp.bfloat16)
    assert_close(found.astype("float32"), expected.astype("float32"), rtol=2**-8)


@pytest.mark.parametrize("num_tasks", [3, FEW + 1])
def test_sums(num_tasks):
    rows = np.random.default_rng(0).normal(size=(num_tasks, 4, 5)).astype("float32")
    np.testing.assert_allclose(
        sum_over_tasks(jnp.asarray(rows)), rows.sum(0), rtol=1e-5, atol=1e-6
    )
