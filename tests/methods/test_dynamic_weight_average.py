"""Dynamic weight average, over epochs and over windows."""

import jax
import numpy as np
import pytest

import mtopt
from mtopt.methods.dynamic_weight_average import dynamic_weight_average
from tests.helpers.loss_methods import follow, softmax


def test_dynamic_weight_average_over_epochs():
    rng = np.random.default_rng(1)
    losses = rng.uniform(0.5, 2, (20, 3))
    present = rng.uniform(size=(20, 3)) < 0.8
    present[4:8, 2] = False
    with jax.enable_x64(True):
        tx = dynamic_weight_average(3, steps_per_epoch=4, temperature=1.5)
        weights, _ = follow(tx, losses, present)
    for t in range(20):
        ratios = []
        for k in np.flatnonzero(present[t]):
            means = [
                losses[e : e + 4, k][present[e : e + 4, k]].mean()
                for e in range(0, t // 4 * 4, 4)
                if present[e : e + 4, k].any()
            ]
            ratios.append(means[-1] / means[-2] if len(means) > 1 else 1.0)
        expected = len(ratios) * softmax(np.array(ratios) / 1.5) if ratios else []
        np.testing.assert_allclose(weights[t][present[t]], expected, rtol=1e-6)


def test_dynamic_weight_average_over_a_window():
    rng = np.random.default_rng(2)
    losses = rng.uniform(0.5, 2, (16, 3))
    present = rng.uniform(size=(16, 3)) < 0.8
    with jax.enable_x64(True):
        tx = dynamic_weight_average(3, window=3)
        weights, _ = follow(tx, losses, present)
    for t in range(16):
        ratios = []
        for k in np.flatnonzero(present[t]):
            seen = losses[: t + 1, k][present[: t + 1, k]]
            ready = len(seen) >= 6
            ratios.append(seen[-3:].mean() / seen[-6:-3].mean() if ready else 1.0)
        expected = len(ratios) * softmax(np.array(ratios) / 2) if ratios else []
        np.testing.assert_allclose(weights[t][present[t]], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dynamic_weight_average(2, steps_per_epoch=0), "steps_per_epoch is 0"),
        (lambda: dynamic_weight_average(2, window=0), "window is 0"),
        (lambda: dynamic_weight_average(2, window=5, temperature=0), "temperature is"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
