"""PCGrad, against loops over the gradients themselves in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.pcgrad import pcgrad, visiting_orders
from tests.helpers.close import assert_close
from tests.helpers.gradients import cosines, rows
from tests.helpers.updates import GOLDEN, solve


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (pcgrad(2), GOLDEN, [2.2222, 1.5789], [0.5848, 3.8012, 3.8012]),
    ],
    ids=[
        "pcgrad",
    ],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


def projected(jacobian, orders):
    """PCGrad on the vectors themselves."""
    result = jacobian.copy()
    for i, order in enumerate(orders):
        for j in order:
            inner = result[i] @ jacobian[j]
            if j != i and inner < 0:
                result[i] -= inner / (jacobian[j] @ jacobian[j]) * jacobian[j]
    return result


@pytest.mark.parametrize("order", ["per_task", "shared", "fixed"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_pcgrad_projects_vectors(x64, order, reduction):
    jacobian, key = rows(5, 7), jax.random.key(3)
    orders = np.asarray(visiting_orders(order, 5, key))
    expected = getattr(projected(jacobian, orders), reduction)(axis=0)
    tx = pcgrad(5, order=order, reduction=reduction)
    direction, _ = solve(tx, jnp.asarray(jacobian), key=key)
    assert_close(direction, expected, rtol=1e-12)


def test_orders_are_permutations_of_three_kinds():
    def draw(order, seed):
        return np.asarray(visiting_orders(order, 5, jax.random.key(seed)))

    for order in ("per_task", "shared", "fixed"):
        for row in draw(order, 0):
            np.testing.assert_array_equal(np.sort(row), np.arange(5))
    assert len(np.unique(draw("per_task", 0), axis=0)) > 1
    assert len(np.unique(draw("shared", 0), axis=0)) == 1
    for order in ("per_task", "shared"):
        assert (draw(order, 0) != draw(order, 1)).any()
    np.testing.assert_array_equal(draw("fixed", 0), np.tile(np.arange(5), (5, 1)))


def test_orders_do_not_depend_on_the_precision():
    orders = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            orders.append(np.asarray(visiting_orders("per_task", 5, jax.random.key(0))))
    np.testing.assert_array_equal(*orders)


def test_a_visitor_comes_anywhere_in_the_order_equally_often():
    keys = jax.random.split(jax.random.key(0), 400)
    draws = jax.vmap(lambda key: visiting_orders("per_task", 5, key))(keys)
    shares = np.mean(np.asarray(draws)[..., None] == np.arange(5), axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.1)


def test_orders_change_from_step_to_step_without_a_key():
    jacobian = jnp.asarray(rows(5, 7), jnp.float32)
    tx = pcgrad(5)
    state = tx.init(jnp.zeros(7))
    weights = []
    for _ in range(3):
        _, state = tx.update(jacobian, state)
        weights.append(np.asarray(state.weights))
    assert (weights[0] != weights[1]).any()
    assert (weights[1] != weights[2]).any()
    assert state.memory == 3


def test_pcgrad_of_two_tasks_conflicts_with_neither():
    for seed in range(5):
        jacobian = jnp.asarray(rows(2, 3, seed), jnp.float32)
        assert cosines(jacobian, solve(pcgrad(2), jacobian)[0]).min() > -1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pcgrad(2, order="random"), "order is 'random'"),
        (lambda: pcgrad(2, reduction="max"), "reduction is 'max'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
