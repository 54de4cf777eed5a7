"""Tails of spectra: planted exponents are found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt import analysis
from mtopt.errors import UserError


def pareto(rng, alpha, size, x_min=1.0):
    return x_min * (1 - rng.random(size)) ** (-1 / (alpha - 1))


@pytest.mark.parametrize("alpha", [1.5, 2.0, 2.5, 4.0])
def test_a_planted_exponent_is_found_within_three_standard_errors(alpha):
    rng = np.random.default_rng(int(10 * alpha))
    law = analysis.fit_power_law(pareto(rng, alpha, 1500))
    assert abs(law.alpha - alpha) < 3 * law.standard_error
    assert law.standard_error < 0.3
    assert law.distance < 0.05


def test_estimates_scatter_by_the_standard_error():
    """All values are tail: the likelihood alone, whose deviation is known."""
    rng = np.random.default_rng(0)
    over = np.sort(np.log(pareto(rng, 3.0, (300, 400))), axis=1)
    estimates = [1 + 400 / own.sum() for own in over]
    fits = [analysis.power_law._tail(own, 0)[1] for own in over]
    # The tail starts at its smallest value, not at the true x_min = 1.
    np.testing.assert_allclose(fits, estimates, rtol=0.02)
    assert abs(np.mean(estimates) - 3) < 0.02
    assert abs(np.std(estimates) / (2 / 400**0.5) - 1) < 0.15


def test_the_tail_starts_where_the_power_law_does():
    rng = np.random.default_rng(1)
    body, tail = rng.uniform(0, 5, 1000), pareto(rng, 2.5, 1000, x_min=5.0)
    law = analysis.fit_power_law(np.concatenate([body, tail]))
    assert law.x_min > 4  # how far beyond it starts is left to the noise
    assert abs(law.alpha - 2.5) < 3 * law.standard_error


def test_the_fit_is_the_best_of_all_starts_by_brute_force():
    values = np.random.default_rng(2).lognormal(size=60)

    def distance(x_min):
        tail = np.sort(values[values >= x_min])
        alpha = 1 + len(tail) / np.log(tail / x_min).sum()
        # Just left and right of every jump of the empirical distribution.
        around = np.concatenate([tail * (1 - 1e-12), tail * (1 + 1e-12)])
        empirical = np.searchsorted(tail, around, side="right") / len(tail)
        fitted = 1 - np.maximum(around / x_min, 1) ** (1 - alpha)
        return np.abs(empirical - fitted).max(), alpha

    law = analysis.fit_power_law(values)
    every = [distance(x) for x in np.sort(values)[:-1]]
    np.testing.assert_allclose((law.distance, law.alpha), min(every), rtol=1e-9)
    assert law.tail == (values >= law.x_min).sum()


def test_more_samples_of_a_power_law_come_nearer_to_it():
    rng = np.random.default_rng(3)
    distances = [
        np.mean(
            [analysis.fit_power_law(pareto(rng, 2.5, n)).distance for _ in range(8)]
        )
        for n in (20, 100, 500)
    ]
    assert distances[0] > distances[1] > distances[2]


def test_repeated_values_belong_to_the_tail_together():
    law = analysis.fit_power_law(np.array([1.0, 1.0, 1.0, 2.0, 4.0]))
    if law.x_min == 1.0:
        assert law.tail == 5
    alone = analysis.fit_power_law(np.full(7, 3.0))
    assert (alone.alpha, alone.tail) == (np.inf, 7)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0], [np.nan], [np.inf, 1.0]])
def test_values_that_have_no_power_law_are_an_error(values):
    with pytest.raises(UserError, match="values, not all finite and above 0"):
        analysis.fit_power_law(np.array(values))


@pytest.mark.parametrize("scale", [1e-12, 3.0, 1e15])
def test_an_exponent_has_no_scale_and_no_orientation(scale):
    rng = np.random.default_rng(4)
    matrix = pareto(rng, 3.0, (60, 40))
    rotation, _ = np.linalg.qr(rng.normal(size=(60, 60)))
    expected = analysis.power_law_alpha(matrix)
    for same in (scale * matrix, matrix.T, rotation @ matrix):
        assert analysis.power_law_alpha(same) == pytest.approx(expected, rel=1e-6)


def test_heavy_tailed_entries_have_a_smaller_exponent_than_gaussian_ones():
    rng = np.random.default_rng(5)
    gaussian = rng.normal(size=(600, 200))
    heavy = rng.choice([-1, 1], (600, 200)) * pareto(rng, 2.5, (600, 200))
    # Entries with P(|w| > x) = x^-1.5 have eigenvalues with exponent 1 + 1.5 / 2.
    assert analysis.power_law_alpha(heavy) == pytest.approx(1.75, abs=0.25)
    assert analysis.power_law_alpha(gaussian) > 4


def test_a_spectrum_planted_in_a_matrix_of_low_rank_is_found():
    rng = np.random.default_rng(6)
    left, _ = np.linalg.qr(rng.normal(size=(900, 700)))
    right, _ = np.linalg.qr(rng.normal(size=(800, 700)))
    matrix = left * np.sqrt(pareto(rng, 2.2, 700)) @ right.T
    alpha = analysis.power_law_alpha(jnp.asarray(matrix, jnp.float32))
    assert alpha == pytest.approx(2.2, abs=3 * 1.2 / 500**0.5)


def test_a_convolution_pools_the_spectra_of_its_offsets():
    kernel = np.random.default_rng(7).normal(size=(3, 3, 8, 16))
    pooled = [np.linalg.eigvalsh(w @ w.T) for w in kernel.reshape(9, 8, 16)]
    expected = analysis.fit_power_law(np.concatenate(pooled)).alpha
    assert analysis.power_law_alpha(kernel) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_matrix_without_a_spectrum_is_an_error(bad):
    with pytest.raises(UserError, match="all 0 or not finite"):
        analysis.power_law_alpha(np.full((4, 4), bad))


def test_layers_are_named_by_their_paths():
    keys = jax.random.split(jax.random.key(0), 5)
    one, two = (
        jax.random.normal(keys[0], (2, 12, 16)),
        jax.random.normal(keys[1], (1, 14, 16)),
    )
    params = {
        "shared": {
            "conv": {"kernel": jax.random.normal(keys[2], (3, 3, 4, 8))},
            "few": {"kernel": jax.random.normal(keys[3], (64, 9))},
            "norm": {"scale": jnp.ones(64)},
        },
        "tasks": (
            mtopt.PerTask({"kernel": one}, ("a", "c")),
            mtopt.PerTask({"kernel": two, "bias": jnp.ones((1, 16))}, ("b",)),
        ),
    }
    rows = analysis.layer_alphas(params)
    assert [(row.name, row.eigenvalues) for row in rows] == [
        ("shared/conv/kernel", 36),
        ("tasks/a/kernel", 12),
        ("tasks/b/kernel", 14),
        ("tasks/c/kernel", 12),
    ]
    assert rows[1].alpha == analysis.power_law_alpha(one[0])
    few = analysis.layer_alphas(params, min_eigenvalues=9)
    assert "shared/few/kernel" in [row.name for row in few]
    with pytest.raises(UserError, match="min_eigenvalues is 1"):
        analysis.layer_alphas(params, min_eigenvalues=1)
