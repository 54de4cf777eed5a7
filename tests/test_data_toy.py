"""The toy problem: its gradients, its front, and where published methods end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import toy
from mtopt.errors import UserError


def jacobian(point, scale=1.0):
    problem = toy.toy_tasks(scale).problem(toy.toy_batch(), jax.random.key(0))
    losses, grads = problem.losses_and_grads(toy.toy_params(point))
    return losses, grads["shared"]


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("point", [(-8.5, 7.5), (-7.5, -0.5), (9.0, -1.0), (1.2, 0.3)])
def test_gradients_are_those_of_finite_differences(point, scale):
    with jax.enable_x64(True):
        _, rows = jacobian(point, scale)
        step = 1e-6
        for axis in range(2):
            shift = step * np.eye(2)[axis]
            up, down = (jacobian(point + sign * shift, scale)[0] for sign in (1, -1))
            np.testing.assert_allclose(
                rows[:, axis], (up - down) / (2 * step), rtol=1e-6, atol=1e-8
            )


def test_a_tie_passes_the_gradient_of_both_sides():
    # At (0, 0) both losses have f = ln 3.5 + 6, and tanh has the slope 1/2.
    with jax.enable_x64(True):
        losses, rows = jacobian((0.0, 0.0))
        f, q = np.log(3.5) + 6, (49 + 6.4) / 10 - 20
        np.testing.assert_allclose(losses, 0, atol=1e-12)
        np.testing.assert_allclose(rows, [[0, (f - q) / 2]] * 2, atol=1e-12)


def test_the_scale_is_that_of_the_first_loss():
    with jax.enable_x64(True):
        full, small = jacobian((2.0, -3.0)), jacobian((2.0, -3.0), 0.1)
        for a, b in zip(full, small, strict=True):
            np.testing.assert_allclose(b[0], 0.1 * a[0])
            np.testing.assert_allclose(b[1], a[1])


def test_on_the_front_the_gradients_are_opposed():
    with jax.enable_x64(True):
        points, values = toy.pareto_front(9)
        w = np.linspace(0, 1, 9)
        for point, value, weight in zip(points, values, w, strict=True):
            losses, rows = jacobian(point)
            np.testing.assert_allclose(losses, value, rtol=1e-12)
            combined = np.array([weight, 1 - weight]) @ rows
            np.testing.assert_allclose(combined, 0, atol=1e-9)
    assert (np.diff(values[:, 0]) < 0).all()
    assert (np.diff(values[:, 1]) > 0).all()


def endpoints(aggregator, inits, steps=50_000):
    """Where 50,000 steps of Adam end, from every start at once, in float64."""
    tx = optax.chain(aggregator, optax.adam(1e-3))
    step = mtopt.make_train_step(toy.toy_tasks(0.1), tx)
    batch = toy.toy_batch()

    def run(point):
        params = toy.toy_params(point)
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        last = jax.lax.fori_loop(0, steps, lambda _, s: step(s, batch)[0], state)
        return last.params["shared"]

    return np.asarray(jax.jit(jax.vmap(run))(jnp.array(inits)))


def on_front(points):
    front, _ = toy.pareto_front(2001)
    nearest = np.abs(front[:, 0] - points[:, :1]).argmin(axis=1)
    return np.abs(points[:, 1] - front[nearest, 1]) < 0.02


def test_equal_weighting_ends_where_it_should():
    with jax.enable_x64(True):
        points = endpoints(mtopt.equal_weighting(2), toy.STARTS["nash_mtl"])
    np.testing.assert_allclose(points[[0, 1, 3, 4], 0], -5.73, atol=0.15)
    assert on_front(points).tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(points[2], (5.00, 3.89), atol=0.15)


def test_mgda_stops_where_it_first_meets_the_front():
    with jax.enable_x64(True):
        points = endpoints(mtopt.mgda(2), toy.STARTS["nash_mtl"])
    np.testing.assert_allclose(
        points[:, 0], (-1.98, 6.10, 6.98, -4.26, 7.00), atol=0.15
    )
    assert on_front(points).all()


def test_a_scale_must_be_positive():
    with pytest.raises(UserError, match="scale is 0"):
        toy.toy_tasks(0.0)
