"""Conflicts of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt import analysis


def test_conflicts_are_counted_over_pairs_and_batches():
    with jax.enable_x64(True):
        rows = {
            "w": jnp.array([[1e-30, 0], [-1e30, 1e30], [0, 2.0]]),
            "b": jnp.zeros(3),
        }
        cosines = analysis.cosines(rows)
        expected = [[1, -(0.5**0.5), 0], [-(0.5**0.5), 1, 0.5**0.5], [0, 0.5**0.5, 1]]
        np.testing.assert_allclose(cosines, expected, atol=1e-12)
        assert float(analysis.conflict_share(cosines)) == pytest.approx(1 / 3)
        absent = analysis.cosines(jnp.array([[1.0, 0], [-1.0, 0], [0, 0]]))
        assert float(analysis.conflict_share(absent)) == 1
        both = jnp.stack([cosines, absent])
        assert float(analysis.conflict_share(both)) == pytest.approx(2 / 4)
        assert np.isnan(analysis.conflict_share(jnp.ones((5, 1, 1))))
