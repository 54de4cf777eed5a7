"""ConFIG, against its formula on the gradients themselves in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.conflict_free import conflict_free
from mtopt.methods.imtl_g import imtl_g
from tests.helpers.close import assert_close
from tests.helpers.gradients import cosines, rows
from tests.helpers.updates import GOLDEN, solve


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (conflict_free(2), GOLDEN, None, [0.1588, 2.0706, 2.0706]),
    ],
    ids=[
        "conflict_free",
    ],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


def test_config_follows_its_formula_and_preference(x64):
    jacobian, preference = rows(5, 7), np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    best = np.linalg.pinv(units) @ preference
    best /= np.linalg.norm(best)
    expected = sum(g @ best for g in jacobian) * best
    tx = conflict_free(5, preference=tuple(preference))
    direction, _ = solve(tx, jnp.asarray(jacobian))
    assert_close(direction, expected, rtol=1e-9)
    ratios = cosines(jacobian, direction) / preference
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)


def test_config_takes_least_squares_where_gradients_depend(x64):
    jacobian = rows(5, 7)
    jacobian[3], jacobian[4] = -2 * jacobian[2], jacobian[0] + jacobian[1]
    units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    best = np.linalg.lstsq(units, np.ones(5), rcond=1e-10)[0]
    best /= np.linalg.norm(best)
    direction, _ = solve(conflict_free(5), jnp.asarray(jacobian))
    np.testing.assert_allclose(
        direction, (jacobian @ best).sum() * best, rtol=1e-6, atol=1e-9
    )


def test_config_and_imtl_g_have_one_direction_whatever_the_scales(x64):
    jacobian = rows(5, 7)
    first, _ = solve(conflict_free(5), jnp.asarray(jacobian))
    second, _ = solve(imtl_g(5), jnp.asarray(jacobian))
    scaled = jacobian * np.array([[1e-4], [1e3], [1.0], [7.0], [1e6]])
    third, _ = solve(conflict_free(5), jnp.asarray(scaled))
    for other in (second, third):
        np.testing.assert_allclose(cosines(first[None], other), 1, rtol=1e-9)


@pytest.mark.parametrize(
    "method",
    [
        conflict_free,
    ],
)
def test_two_tasks_halve_the_angle(method):
    jacobian = jnp.asarray(rows(2, 3), jnp.float32)
    direction, _ = solve(method(2), jacobian)
    bisector = np.asarray(jacobian / jnp.linalg.norm(jacobian, axis=1, keepdims=True))
    np.testing.assert_allclose(
        cosines(bisector.sum(axis=0)[None], direction), 1, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conflict_free(2, preference=(1, 0)), "2 finite numbers above 0"),
        (lambda: conflict_free(2, preference=(1, 1, 1)), "preference is"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
