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

# One for each solver; the invariants of methods hold for all by default.
a_method_of_each_solver = pytest.mark.parametrize(
    "method",
    [
        *(cagrad, nash_mtl, upgrad),
        *(
            pytest.param(m, marks=pytest.mark.slow)
            for m in (dualproj, fairgrad, imgrad)
        ),
    ],
    ids=lambda method: method.__name__,
)


@a_method_of_each_solver
def test_one_task_descends_its_gradient(method):
    row = jnp.array([[3.0, -4.0]])
    direction, weights = direction_and_weights(method(1), row)
    assert weights[0] > 0
    assert_close(direction, weights[0] * row[0], rtol=1e-6)
    if method in (upgrad, dualproj):
        assert_close(direction, row[0], rtol=1e-6)


@a_method_of_each_solver
def test_absent_tasks_do_not_take_part(method):
    jacobian = normal_rows(4, 6)
    present = np.array([True, False, True, True])
    tx = method(4)
    direction, weights = direction_and_weights(tx, jacobian, present=present)
    alone, _ = direction_and_weights(method(3), jacobian[present])
    assert weights[1] == 0
    np.testing.assert_allclose(direction, alone, rtol=1e-4, atol=1e-5)
    nobody, _ = direction_and_weights(tx, jacobian, present=np.zeros(4, bool))
    np.testing.assert_array_equal(nobody, 0)


@a_method_of_each_solver
def test_float64_is_used(method):
    with jax.enable_x64(True):
        double = normal_rows(3, 5).astype("float64")
        tx = method(3)
        direction, weights = direction_and_weights(tx, double)
        assert direction.dtype == weights.dtype == np.float64
        order = np.array([2, 0, 1])
        permuted, _ = direction_and_weights(tx, double[order])
        np.testing.assert_allclose(permuted, direction, rtol=1e-7, atol=1e-9)
