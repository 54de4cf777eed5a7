"""CAGrad and IMGrad, which differs by one factor, against their duals in float64."""

import functools

import jax
import numpy as np
import pytest
import scipy.optimize

from mtopt.errors import UserError
from mtopt.methods.cagrad import cagrad
from mtopt.methods.imgrad import imgrad
from tests.helpers.gradients import normal_rows
from tests.helpers.updates import GOLDEN, direction_and_weights


@pytest.mark.parametrize(
    ("tx", "direction", "atol"),
    [
        (cagrad(2, c=0.5, rescale="none"), [0.1835, 1.2041, 1.2041], 1e-4),
    ],
    ids=[
        "cagrad",
    ],
)
def test_golden_values(tx, direction, atol):
    np.testing.assert_allclose(
        direction_and_weights(tx, GOLDEN)[0], direction, atol=atol
    )


def simplex_minimum(function, k):
    """The least of SLSQP runs on the simplex, in float64."""
    starts = [np.full(k, 1 / k), *np.eye(k)]
    found = [
        scipy.optimize.minimize(
            function,
            0.9 * start + 0.1 / k,
            method="SLSQP",
            bounds=[(0, 1)] * k,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in starts
    ]
    return min(found, key=lambda result: result.fun).x


@functools.cache
def of_every_rescaling(method):
    """The directions of a matrix at any radius, by one program."""

    def directions(jacobian, c):
        txs = {
            rescale: method(4, c=c, rescale=rescale)
            for rescale in ("none", "1+c^2", "1+c")
        }
        return {
            rescale: tx.update(jacobian, tx.init(jacobian[0]))[0]
            for rescale, tx in txs.items()
        }

    return jax.jit(directions)


@pytest.mark.parametrize("c", [0.4, 1.5])
@pytest.mark.parametrize("method", [cagrad, imgrad], ids=lambda m: m.__name__)
def test_conflict_aversion_as_written_in_the_papers(method, c):
    jacobian = normal_rows(4, 6, seed=3).astype("float64")
    gramian, mean = jacobian @ jacobian.T, np.full(4, 0.25)
    g_0 = mean @ jacobian
    length = np.linalg.norm(g_0)
    kappa = 1.0
    if method is imgrad:
        shortest = simplex_minimum(lambda w: w @ gramian @ w, 4) @ jacobian
        kappa = shortest @ g_0 / np.linalg.norm(shortest) / length
    factor = 1.5 - kappa if method is imgrad else 1

    def dual(w):
        norm = np.sqrt(w @ gramian @ w)
        return factor * (w @ gramian @ mean) + kappa * c * length * norm

    g_w = simplex_minimum(dual, 4) @ jacobian
    expected = g_0 + c * length * g_w / np.linalg.norm(g_w)
    found = of_every_rescaling(method)(jacobian.astype("float32"), c)
    np.testing.assert_allclose(found["none"], expected, atol=2e-3 * length)
    for rescale, divisor in (("1+c^2", 1 + c**2), ("1+c", 1 + c)):
        np.testing.assert_allclose(found[rescale], found["none"] / divisor, rtol=1e-5)


def test_cagrad_harms_no_task_from_c_1_on():
    tx = cagrad(5, c=1.0)
    for seed in range(3):
        jacobian = normal_rows(5, 6, seed)
        direction, _ = direction_and_weights(tx, jacobian)
        assert (jacobian @ direction).min() >= -1e-4


def test_a_task_at_rest_does_not_bind_cagrad():
    jacobian = normal_rows(3, 5) * np.float32([[1], [0], [1]])
    direction, weights = direction_and_weights(cagrad(3, rescale="none"), jacobian)
    g_0 = jacobian.mean(0)
    np.testing.assert_allclose(
        np.linalg.norm(direction - g_0), 0.5 * np.linalg.norm(g_0), rtol=1e-4
    )
    np.testing.assert_allclose(weights[1], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cagrad(2, c=0.0), r"c is 0.0: .*equal_weighting"),
        (lambda: imgrad(2, rescale="1+c2"), "rescale is '1\\+c2'"),
    ],
)
def test_bad_options_are_told(build, message):
    with pytest.raises(UserError, match=message):
        build()
