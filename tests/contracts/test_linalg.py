"""Algebra on gradients: the simplex, shares of the present tasks, norms."""

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.linalg import row_norms
from mtopt.simplex import project_simplex, share_of
from tests.helpers.simplex import nearest_on_simplex


def test_projection_on_the_simplex():
    rng = np.random.default_rng(0)
    project = jax.jit(project_simplex)
    for scale in (0.1, 1.0, 10.0):
        for _ in range(5):
            values = scale * rng.normal(size=4)
            present = rng.uniform(size=4) < 0.7
            present[0] = True
            expected = np.zeros(4)
            expected[present] = nearest_on_simplex(values[present])
            found = project(jnp.asarray(values, jnp.float32), jnp.asarray(present))
            np.testing.assert_allclose(found, expected, atol=1e-5)
    nobody = project(jnp.ones(4), jnp.zeros(4, bool))
    assert not np.asarray(nobody).any()
    huge = jnp.array([1e30, 1e30, -1e30, 0.0])
    np.testing.assert_array_equal(project(huge, jnp.ones(4, bool)), [0.5, 0.5, 0, 0])


def test_shares_of_the_present_tasks():
    weights = jnp.array([0.2, 0.3, 0.5, 0.0])
    shares, total = share_of(weights, jnp.array([True, True, False, False]))
    np.testing.assert_allclose(shares, [0.4, 0.6, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(total, 0.5, rtol=1e-6)
    shares, total = share_of(weights, jnp.array([False, False, False, True]))
    np.testing.assert_array_equal(shares, [0, 0, 0, 1])
    assert total == 0


def test_norms_at_any_scale():
    rows = {"a": jnp.array([[3.0, 0], [0, 0]]), "b": jnp.array([4.0, 0])}
    norms = jax.jit(lambda s: row_norms(jax.tree.map(lambda leaf: leaf * s, rows)))
    for scale in (1e-37, 1.0, 1e37):
        np.testing.assert_allclose(norms(scale), [5 * scale, 0], rtol=1e-5)
