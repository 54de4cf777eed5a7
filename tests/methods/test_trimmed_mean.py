"""The trimmed mean, against sorting in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.trimmed_mean import trimmed_mean
from tests.helpers.row_methods import K, assert_follows, batches


def test_trimmed_mean_is_the_mean_of_the_middle():
    rows, losses, present = batches()

    def reference():
        for row, here in zip(rows, present, strict=True):
            ordered = np.sort(row[here], axis=0)
            yield ordered[1:-1].mean(axis=0) if len(ordered) > 2 else ordered.mean(0)

    assert_follows(trimmed_mean(K), reference(), (rows, losses, present))


def test_trimmed_mean_of_many_and_of_ties():
    rng = np.random.default_rng(1)
    rows = jnp.asarray(rng.integers(-2, 3, size=(9, 50)), jnp.float32)
    tx = trimmed_mean(9, num_trimmed=3)
    direction, _ = jax.jit(tx.update)(rows, tx.init(jnp.zeros(50)))
    expected = np.sort(np.asarray(rows), axis=0)[3:6].mean(axis=0)
    np.testing.assert_allclose(direction, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (trimmed_mean, {"num_trimmed": -1}, "num_trimmed is -1"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
