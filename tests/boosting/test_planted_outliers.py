"""R-MTGB finds planted outliers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt import boosting
from mtopt.data.tables.boosting_scenarios import scenario
from tests.helpers.boosting import fit

BASELINES = {
    "R-MTGB": (0, 50, 0),
    "MTGB": (30, 0, 20),
    "STL": (0, 0, 30),
    "pooling": (50, 0, 0),
}


@pytest.mark.slow  # four programs to compile: half a minute on two cores
def test_planted_outliers_are_found_and_cost_nothing():
    draws = [scenario(4, seed) for seed in range(20)]
    train, test = (
        jax.tree.map(lambda *a: np.stack(a), *[getattr(draw, part) for draw in draws])
        for part in ("train", "test")
    )
    keys = jax.random.split(jax.random.key(0), 20)
    error = {}
    for name, counts in BASELINES.items():

        def one(train, test, key, counts=counts):
            model = fit(
                *train, counts, num_tasks=10, learning_rate=1.0, theta=None, key=key
            )
            said = boosting.predict(model, test.features, test.task)
            return jnp.sqrt(jnp.mean((said - test.targets) ** 2)), model.theta

        error[name], theta = jax.jit(jax.vmap(one))(train, test, keys)
        if name == "R-MTGB":
            regular, outliers = theta[:, :8], theta[:, 8:]
            above = outliers.min(axis=1) > regular.max(axis=1)
            below = outliers.max(axis=1) < regular.min(axis=1)
            assert (above | below).sum() >= 19
    errors = np.array([error[name] for name in BASELINES])
    assert (errors.argmin(axis=0) == 0).sum() >= 18
    ratio = errors[0].mean() / errors.mean(axis=1)
    assert ratio[1] <= 0.94
    assert ratio[2] <= 0.93
    assert ratio[3] <= 0.75
