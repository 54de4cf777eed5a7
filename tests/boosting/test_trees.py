"""Trees: thresholds, missing numbers, no split, subsamples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt import boosting
from mtopt.boosting.splits import centre, midpoint
from tests.helpers.boosting import data, fit


def test_thresholds_divide_float32_as_the_middle_in_float64():
    rng = np.random.default_rng(0)
    low = rng.normal(size=5000).astype(np.float32)
    steps = rng.integers(1, 6, 5000)
    high = low
    for step in range(5):
        high = np.where(step < steps, np.nextafter(high, np.float32(9)), high)
    exact = (low.astype(float) + high.astype(float)) / 2
    found = np.asarray(jax.jit(midpoint)(jnp.asarray(low), jnp.asarray(high)))
    assert found.dtype == np.float32
    assert (found <= exact).all()
    assert (np.nextafter(found, np.float32(9)) > exact).all()


def test_nan_goes_left_as_below_every_number():
    x, y, task, _ = data()
    x = x.copy()
    x[::3, 0] = np.nan
    below = np.where(np.isnan(x), np.float32(-100), x)
    y = y + 3 * np.isnan(x[:, 0])
    model, other = fit(x, y, task), fit(below, y, task)
    said = boosting.predict(model, x, task)
    np.testing.assert_allclose(said, boosting.predict(other, below, task), atol=1e-6)
    assert np.isneginf(model.shared.threshold).any()
    # A NaN where training had none is below all that training had.
    unseen = boosting.predict(other, x, task)
    np.testing.assert_array_equal(unseen, boosting.predict(other, below, task))


@pytest.mark.slow
def test_subsamples_are_drawn_afresh():
    y = np.random.default_rng(0).normal(3, 1, 4000)
    zeros = np.zeros(4000, int)
    options = {"num_tasks": 1, "theta": np.zeros(1), "learning_rate": 1.0}
    options |= {"subsample": 0.25}

    def means(seed):
        key = jax.random.key(seed)
        model = fit(zeros[:, None], y, zeros, (60, 0, 0), key=key, **options)
        # Each leaf is its subsample's mean of what the one before left over.
        return np.cumsum(np.asarray(model.shared.value)[:, 0, 0, 0])

    one = means(0)
    # The mean of a quarter of the rows has the variance 3 / 4000 around that of all.
    # Were masks to pile up, nothing would be left after a few iterations.
    assert np.abs(one - y.mean()).max() < 5 * (3 / 4000) ** 0.5
    assert 0.7 < one[-30:].std() / (3 / 4000) ** 0.5 < 1.3
    assert not np.array_equal(one, means(1))


def test_no_split_is_a_mean():
    x, y, task, _ = data()
    constant = fit(np.ones_like(x), y, task)
    assert np.isposinf(constant.shared.threshold).all()
    assert np.isposinf(constant.task_specific.threshold).all()
    first = constant.shared.value[0, 0, :, 0]
    np.testing.assert_allclose(first, [0.5 * y.mean(), 0], atol=1e-6)


def test_targets_all_alike_do_not_vary_whatever_their_mean_is_rounded_to():
    rng = np.random.default_rng(0)
    segment = rng.integers(0, 50, 2000).astype(np.int32)
    weights = rng.uniform(0.1, 2, 2000).astype(np.float32)
    alike = rng.normal(3, 9, 50).astype(np.float32)[segment]

    @jax.jit
    def varying(targets):
        rows, weight = jnp.asarray(segment), jnp.asarray(weights)
        values = jnp.stack([weight, weight * targets]).T
        total, sums = jax.ops.segment_sum(values, rows, 50).T
        centred = centre(rows, weight, targets[None], sums[None], total)
        return centred.targets, centred.vary

    centred, vary = varying(alike)
    assert np.abs(centred).max() > 1e-7  # rounded it is
    assert not vary.any()
    assert varying(alike + 1e-4 * rng.normal(size=2000).astype(np.float32))[1].all()
