"""The simpler ways beside ``outlier_weighted``: affinities, a bound on residuals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from experiments.benchmarks import outliers
from experiments.benchmarks.outlier_baselines import (
    affinities,
    huber,
    huber_threshold,
    least_affine,
)
from tests.helpers.close import assert_close

RNG = np.random.default_rng(0)


def test_affinities_are_what_a_step_on_one_loss_does_for_each():
    """Of linear regressions with offsets of their own, which stay as they are."""
    x, y = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 6))
    w, offsets = RNG.normal(size=3), RNG.normal(size=4)
    mask = np.ones((4, 6), bool)
    mask[3] = False

    def head_loss(head, z, y, mask, key):
        return mtopt.masked_mean((z + head - y) ** 2, mask)

    with jax.enable_x64(True):
        names = ("a", "b", "c", "d")
        tasks = mtopt.Tasks(names, lambda w, x, key: x @ w, head_loss)
        params = {"shared": w, "tasks": mtopt.PerTask(offsets, names)}
        batch = mtopt.Batch(x, y, mask, names)

        def found(params):
            return affinities(tasks.problem(batch, jax.random.key(0)), params, 0.1)

        found = np.asarray(jax.jit(found)(params))

    def losses(w):
        return ((x @ w + offsets[:, None] - y) ** 2).mean(axis=1)

    for i in range(3):
        slope = 2 * x.T @ (x @ w + offsets[i] - y[i]) / 6
        expected = 1 - losses(w - 0.1 * slope) / losses(w)
        assert_close(found[i, :3], expected[:3], rtol=1e-10)
    assert np.isnan(found[3]).all()
    assert np.isnan(found[:, 3]).all()


def test_the_least_affine_is_judged_by_what_it_does_for_those_it_met():
    nan = np.nan  # the first does nothing for the third, and never met the second
    mean = [[-9.0, nan, 0.1], [0.2, 9.0, 0.0], [0.3, -0.2, 9.0]]
    assert least_affine(jnp.array(mean)) == 2


def test_the_threshold_is_that_of_most_residuals():
    residuals = 0.3 * RNG.normal(size=(10, 1000))
    residuals[9] *= 100
    mask = np.ones((10, 1000), bool)
    mask[:4, :500] = False
    residuals[:4, :500] = 1e6
    found = jax.jit(huber_threshold)(residuals, mask)
    assert 1.345 * 0.3 < found < 1.2 * 1.345 * 0.3


def test_beyond_the_threshold_the_slope_stays():
    slopes = jax.vmap(jax.grad(huber), (0, None))(jnp.array([0.5, 1.0, 9.0, -9.0]), 2.0)
    assert slopes.tolist() == [1.0, 2.0, 4.0, -4.0]


def short(kinds, output, *ways):
    """Some plants for fewer steps than the benchmark's."""
    found = outliers.measure(kinds, output, [0, 1], "equal_weighting", 150, ways)
    for kind_of in found.values():
        assert list(kind_of) == kinds
    return found


@functools.cache
def with_a_common_output():
    return short(["none", "noise"], "common", "one dropped", "huber")


@pytest.mark.slow  # programs of whole trainings; CI runs them
def test_one_wrong_task_is_dropped_of_three():
    noise = with_a_common_output()["one dropped"]["noise"]
    assert ((noise.weights == 0).sum(axis=1) == 1).all()
    assert (noise.weights[:, noise.wrong] == 0).any(axis=1).all()
    assert 0 < noise.closed < 1


@pytest.mark.slow  # programs of whole trainings; CI runs them
def test_a_right_one_that_is_dropped_has_a_network_of_its_own():
    """Else its head would answer as it did before training, with an error of 1."""
    none = short(["none"], "own", "one dropped")["one dropped"]["none"]
    assert ((none.weights == 0).sum(axis=1) == 1).all()
    assert none.ratio[0] < 1.4


@pytest.mark.slow  # programs of whole trainings; CI runs them
def test_huber_costs_nothing_where_nothing_is_wrong_and_lessens_noise():
    none, noise = with_a_common_output()["huber"].values()
    assert none.ratio[0] < 1.1
    assert 0.3 < noise.closed < 1


@pytest.mark.slow  # programs of whole trainings; CI runs them
def test_every_plant_has_its_row_of_baselines():
    lines = outliers.table_of_baselines(with_a_common_output()).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["none", "noise"]
