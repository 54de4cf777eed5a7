"""SAM of the mean loss: one point for all tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.quadratics import D, joined, random_quadratics
from tests.helpers.single_loss import single_loss_sam
from tests.helpers.updates import KEY, first_update_on, update_on


@pytest.mark.parametrize(
    "adaptive", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_sam_of_the_mean_loss_is_sam_of_one_loss(adaptive):
    """Before equal weighting: jax.grad of the mean loss at its own worst point."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None, 0.2)
    problem = tasks.problem(batch, KEY)
    gone = mtopt.Batch(batch.x, batch.y, batch.mask.at[1].set(False))
    without = tasks.problem(gone, KEY)

    @jax.jit
    def both(params):
        pairs = []
        for case, here in ((problem, jnp.ones(3)), (without, jnp.array([1.0, 0, 1]))):
            tx = mtopt.chain(
                mtopt.sam(3, rho=0.3, adaptive=adaptive), mtopt.equal_weighting(3)
            )
            found, _ = update_on(tx, tx.init(params), case, params)

            def mean(params, case=case, here=here):
                return here @ case.losses(params) / here.sum()

            pairs.append((found, single_loss_sam(adaptive, 0.3, mean, params)))
        return pairs

    for found, expected in both(params):
        assert_close(found, expected, rtol=1e-4)


def test_sam_moves_all_tasks_to_one_point():
    tasks = random_quadratics(seed=6)
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        found, _ = first_update_on(mtopt.sam(3, rho=0.3), problem, params)
        clean, _ = first_update_on(mtopt.sam(3, rho=0), problem, params)
    grads = tasks.grads(tasks.points)
    shared, own = grads[:, :D].mean(axis=0), grads[:, D:] / 3
    length = np.sqrt((shared**2).sum() + (own**2).sum())
    moves = np.concatenate([np.tile(shared, (3, 1)), own], axis=1) * 0.3 / length
    assert_close(joined(found), tasks.sam(moves), rtol=1e-10)
    assert_close(joined(clean), grads, rtol=1e-12)
