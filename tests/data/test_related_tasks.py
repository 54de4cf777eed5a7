"""Planted relatedness: what tasks have in common is what was told."""

import jax
import numpy as np
import pytest

from mtopt.data import fingerprint, related_tasks
from mtopt.errors import UserError
from tests.helpers.methods import over

SMALL = {"num_train": 400, "num_valid": 20, "num_test": 300}


def directions(data):
    """Of linear tasks, what the labels without noise are of the inputs, unit rows."""
    x, y = (np.asarray(a, float) for a in (data.test.samples.x, data.test.samples.y))
    inputs = np.column_stack([x, np.ones(len(x))])
    found, residual, *_ = np.linalg.lstsq(inputs, y.T, rcond=None)
    assert residual.max() < 1e-6
    return (found[:-1] / np.linalg.norm(found[:-1], axis=0)).T


@pytest.mark.parametrize(
    ("groups", "each", "within", "across"),
    [(2, 2, 0.95, 0.0), (3, 2, 0.5, -0.2), (1, 4, -0.3, 0.7), (2, 3, 1.0, 1.0)],
)
def test_directions_are_correlated_as_told(groups, each, within, across):
    sizes = {"groups": groups, "tasks_per_group": each}
    told = {"within": within, "across": across}
    data = related_tasks(waves=0, **sizes, **told, **SMALL)
    letter = np.array([name[0] for name in data.tasks])
    wanted = np.where(letter[:, None] == letter, within, across)
    np.fill_diagonal(wanted, 1)
    w = directions(data)
    np.testing.assert_allclose(w @ w.T, wanted, atol=1e-5)


def test_tasks_of_one_direction_are_one_function_of_it_and_no_linear_one():
    data = related_tasks(within=1.0, across=0.0, **SMALL)
    y = np.asarray(data.test.samples.y)
    np.testing.assert_allclose(y[0], y[1], atol=1e-5)
    np.testing.assert_allclose(y[2], y[3], atol=1e-5)
    assert abs(np.corrcoef(y[0], y[2])[0, 1]) < 0.2
    x = np.asarray(data.test.samples.x)
    inputs = np.column_stack([x, np.ones(len(x))])
    _, residual, *_ = np.linalg.lstsq(inputs, y.T, rcond=None)
    assert residual.min() > 0.1 * len(x)


def test_noise_is_on_the_labels_that_are_fitted_and_chosen_by_alone():
    sizes = {"num_train": 4000, "num_valid": 2000, "num_test": 50}
    clean, noisy = (related_tasks(noise=noise, **sizes) for noise in (0.0, 0.3))
    for part in ("train", "valid"):
        one, other = (getattr(data, part).samples for data in (clean, noisy))
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_allclose(np.std(np.asarray(other.y - one.y)), 0.3, rtol=0.03)
    np.testing.assert_array_equal(clean.test.samples.y, noisy.test.samples.y)
    y = np.asarray(clean.train.samples.y)
    np.testing.assert_allclose(y.mean(axis=1), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(y.std(axis=1), np.ones(4), atol=1e-5)


def test_the_seed_decides():
    a, b, c = (related_tasks(seed=seed, **SMALL) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, a.train.samples, b.train.samples)
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)


def test_tasks_that_are_left_out_leave_the_others_as_they_are():
    every, some = related_tasks(**SMALL), related_tasks(tasks=("b1",), **SMALL)
    assert some.tasks == ("b1",)
    np.testing.assert_array_equal(some.train.samples.y[0], every.train.samples.y[2])


MISUSE = {
    "groups": (27, "groups is 27: expected a whole number, 1 to 26"),
    "tasks_per_group": (0, "tasks_per_group is 0: expected a whole number, 1 to 9"),
    "within": (1.2, "within is 1.2: expected a number from -1 to 1"),
    "across": (0.99, "within is 0.95 and across is 0.99: expected correlations that 4"),
    "features": (3, "features is 3: expected 4 or more"),
    "waves": (-1, "waves is -1: expected a whole number, 0 or more"),
    "noise": (float("nan"), "noise is nan: expected a number from 0"),
    "num_train": (1, "num_train is 1: expected a whole number, 2 or more"),
    "num_valid": (0, "num_valid is 0"),
    "num_test": (True, "num_test is True"),
    "tasks": (("c1",), "'c1'"),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    value, message = MISUSE[name]
    with pytest.raises(UserError) as error:
        related_tasks(**{**SMALL, name: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
