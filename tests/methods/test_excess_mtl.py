"""ExcessMTL, against its algorithm in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.excess_mtl import excess_mtl
from tests.helpers.row_methods import D, K, assert_follows, batches


@pytest.mark.parametrize("warmup", [1, 2])
def test_excess_mtl_follows_the_algorithm(warmup):
    rows, losses, present = batches()

    def reference():
        squares, weights = np.zeros((K, D)), np.ones(K)
        first = [[] for _ in range(K)]
        for row, here in zip(rows, present, strict=True):
            held = weights[here].sum()
            for k in np.flatnonzero(here):
                squares[k] += row[k] ** 2
                excess = np.sum(row[k] ** 2 / np.sqrt(squares[k] + 1e-7))
                if len(first[k]) < warmup:
                    first[k].append(excess)
                else:
                    weights[k] *= np.exp(0.5 * excess / np.mean(first[k]))
            weights[here] *= held / weights[here].sum()
            yield weights[here] @ row[here]

    tx = excess_mtl(K, eta=0.5, warmup=warmup)
    assert_follows(tx, reference(), (rows, losses, present))


def test_excess_mtl_does_not_overflow_on_a_steep_rise():
    tx = excess_mtl(2)
    state, update = tx.init(jnp.zeros(2)), jax.jit(tx.update)
    for scale in (1e-3, 1e12, 1.0):
        direction, state = update(jnp.diag(scale * jnp.array([1.0, 1e-3])), state)
        assert np.isfinite(np.asarray(direction)).all()
    np.testing.assert_allclose(state.weights.sum(), 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (excess_mtl, {"eta": 0.0}, "eta is 0.0"),
        (excess_mtl, {"warmup": 0}, "warmup is 0"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
