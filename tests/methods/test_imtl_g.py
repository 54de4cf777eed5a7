"""IMTL-G: its closed form, and what bounds it where that ascends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.imtl_g import imtl_g
from tests.helpers.close import assert_close
from tests.helpers.gradients import cosines, rows
from tests.helpers.updates import GOLDEN, solve

# No two of these gradients conflict, yet weights of equal projections and sum 1 ascend.
ASCENDING = jnp.array([[0.1, 0.1, 0.02], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (imtl_g(2), GOLDEN, [0.5923, 0.4077], [0.0767, 1, 1]),
    ],
    ids=[
        "imtl_g",
    ],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


def test_imtl_g_is_the_published_closed_form(x64):
    checked = 0
    for seed in range(8):
        jacobian = rows(5, 7, seed, mean=0.3)
        units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
        apart, angles = jacobian[:1] - jacobian[1:], units[:1] - units[1:]
        others = jacobian[0] @ angles.T @ np.linalg.inv(apart @ angles.T)
        weights = np.concatenate([[1 - others.sum()], others])
        _, state = solve(imtl_g(5), jnp.asarray(jacobian))
        if (
            2 * weights.sum() >= np.abs(weights).sum()
            and units[0] @ (weights @ jacobian) > 0
        ):
            assert_close(state.weights, weights, rtol=1e-9)
            checked += 1
    assert checked > 4


def test_imtl_g_never_ascends():
    direction, state = solve(imtl_g(3), ASCENDING)
    units = ASCENDING / jnp.linalg.norm(ASCENDING, axis=1, keepdims=True)
    projections = np.asarray(units) @ direction
    assert projections.min() > 0.01
    np.testing.assert_allclose(projections, projections[0], rtol=1e-4)
    np.testing.assert_allclose(jnp.abs(state.weights).sum(), 2, rtol=1e-5)


def test_imtl_g_is_bounded_and_continuous_where_the_published_form_flips(x64):
    """From one side of a sum of weights of zero to the other."""
    stack = np.array(ASCENDING, float)[None] * np.ones((400, 1, 1))
    stack[:, 0] *= np.geomspace(1, 30, 400)[:, None]  # the short gradient grows
    tx = imtl_g(3)

    def update(jacobian):
        direction, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
        return direction, state.weights

    directions, weights = jax.jit(jax.vmap(update))(jnp.asarray(stack))
    sums = np.asarray(weights).sum(axis=1)
    assert sums[0] < 0
    np.testing.assert_allclose(sums[-1], 1)
    lengths = np.linalg.norm(directions, axis=1)
    assert (lengths <= 2 * np.linalg.norm(stack, axis=2).max(axis=1)).all()
    assert np.abs(np.diff(directions, axis=0)).max() < 0.05
    assert (np.einsum("tkd,td->tk", stack, directions) > 0).all()


@pytest.mark.parametrize(
    "method",
    [
        imtl_g,
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
        (lambda: imtl_g(2, space="features"), "space is 'features'"),
        (lambda: imtl_g(2, heads="none"), "heads is 'none'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
