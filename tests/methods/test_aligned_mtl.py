"""Aligned-MTL, against the nearest orthogonal gradients in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.aligned_mtl import aligned_mtl
from tests.helpers.close import assert_close
from tests.helpers.gradients import rows
from tests.helpers.updates import GOLDEN, solve


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (
            aligned_mtl(2, preference=(0.5, 0.5)),
            GOLDEN,
            [0.5591, 0.4083],
            [0.2133, 0.9673, 0.9673],
        ),
    ],
    ids=[
        "aligned_mtl",
    ],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "of"),
    [
        ("min", np.min),
        ("median", lambda s: np.sort(s)[(len(s) - 1) // 2]),
        ("rmse", np.mean),
    ],
)
@pytest.mark.parametrize("depend", [False, True])
def test_aligned_rows_are_the_nearest_orthogonal_ones(x64, scale, of, depend):
    jacobian, preference = rows(5, 7), np.array([1.0, 0.0, 2.0, 0.5, 1.0])
    if depend:
        jacobian[4] = jacobian[0] - jacobian[1]
    left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
    rank = 4 if depend else 5
    aligned = np.sqrt(of(singular[:rank] ** 2)) * left[:, :rank] @ right[:rank]
    tx = aligned_mtl(5, scale=scale, preference=tuple(preference))
    direction, _ = solve(tx, jnp.asarray(jacobian))
    np.testing.assert_allclose(direction, preference @ aligned, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_a_task_that_is_absent_or_at_rest_adds_no_eigenvalue(x64, scale):
    jacobian, present = rows(5, 7), np.array([True, False, True, True, False])
    tx, rest = aligned_mtl(5, scale=scale), jacobian * present[:, None]
    found, state = solve(tx, jnp.asarray(jacobian), present=jnp.asarray(present))
    at_rest, _ = solve(tx, jnp.asarray(rest))
    alone, _ = solve(aligned_mtl(3, scale=scale), jnp.asarray(jacobian[present]))
    assert_close(found, alone, rtol=1e-9)
    assert_close(at_rest, alone, rtol=1e-9)
    np.testing.assert_array_equal(state.weights[~present], 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: aligned_mtl(2, scale="max"), "scale is 'max'"),
        (lambda: aligned_mtl(2, preference=(1, -1)), "preference is"),
        (lambda: aligned_mtl(2, preference=(0, 0)), "not all 0"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
