"""What holds for all methods that solve a convex problem on the Gramian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.methods.cagrad import cagrad
from mtopt.methods.dualproj import dualproj
from mtopt.methods.fairgrad import fairgrad
from mtopt.methods.imgrad import imgrad
from mtopt.methods.nash_mtl import nash_mtl
from mtopt.methods.upgrad import upgrad
from tests.helpers.close import assert_close
from tests.helpers.gradients import normal_rows
from tests.helpers.updates import direction_and_weights

METHODS = (cagrad, dualproj, fairgrad, imgrad, nash_mtl, upgrad)


every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)


@every_method
def test_one_task_descends_its_gradient(method):
    row = jnp.array([[3.0, -4.0]])
    direction, weights = direction_and_weights(method(1), row)
    assert weights[0] > 0
    assert_close(direction, weights[0] * row[0], rtol=1e-6)
    if method in (upgrad, dualproj):
        assert_close(direction, row[0], rtol=1e-6)


@every_method
def test_absent_tasks_do_not_take_part(method):
    jacobian = normal_rows(4, 6)
    present = np.array([True, False, True, True])
    direction, weights = direction_and_weights(
        method(4), jacobian, present=jnp.asarray(present)
    )
    alone, _ = direction_and_weights(method(3), jacobian[present])
    assert weights[1] == 0
    np.testing.assert_allclose(direction, alone, rtol=1e-4, atol=1e-5)
    nobody, _ = direction_and_weights(method(4), jacobian, present=jnp.zeros(4, bool))
    np.testing.assert_array_equal(nobody, 0)


@every_method
def test_awkward_rows_stay_finite(method):
    jacobian = normal_rows(4, 6)
    for awkward in (
        0 * jacobian,
        jacobian * [[0], [1], [1], [1]],
        jacobian[[0, 0, 1, 1]],
        np.stack([jacobian[0], -jacobian[0], jacobian[1], -jacobian[1]]),
        1e-10 * jacobian,
        1e15 * jacobian,
    ):
        direction, weights = direction_and_weights(method(4), awkward.astype("float32"))
        assert np.isfinite(direction).all()
        assert np.isfinite(weights).all()


@every_method
def test_float64_is_used(method):
    with jax.enable_x64(True):
        double = normal_rows(3, 5).astype("float64")
        direction, weights = direction_and_weights(method(3), double)
        assert direction.dtype == weights.dtype == np.float64
        order = np.array([2, 0, 1])
        permuted, _ = direction_and_weights(method(3), double[order])
        np.testing.assert_allclose(permuted, direction, rtol=1e-7, atol=1e-9)
