"""Conflicts of gradients."""

import jax
import numpy as np
import pytest

from mtopt import analysis


def test_conflicts_are_counted_over_pairs_and_batches():
    with jax.enable_x64(True):
        rows = {
            "w": np.array([[1e-30, 0], [-1e30, 1e30], [0, 2.0]]),
            "b": np.zeros(3),
        }
        compiled, share = jax.jit(analysis.cosines), jax.jit(analysis.conflict_share)
        cosines = compiled(rows)
        expected = [[1, -(0.5**0.5), 0], [-(0.5**0.5), 1, 0.5**0.5], [0, 0.5**0.5, 1]]
        np.testing.assert_allclose(cosines, expected, atol=1e-12)
        assert float(share(cosines)) == pytest.approx(1 / 3)
        absent = compiled(np.array([[1.0, 0], [-1.0, 0], [0, 0]]))
        assert float(share(absent)) == 1
        both = np.stack([cosines, absent])
        assert float(share(both)) == pytest.approx(2 / 4)
        assert np.isnan(share(np.ones((5, 1, 1))))
