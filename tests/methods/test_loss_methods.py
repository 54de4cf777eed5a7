"""What holds for all methods on losses."""

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.methods.cosmos_scalarization import cosmos_loss
from mtopt.methods.pbi import pbi_loss
from mtopt.methods.smooth_tchebycheff import (
    smooth_tchebycheff_loss,
)
from mtopt.methods.tchebycheff import tchebycheff_loss
from tests.helpers.close import assert_close
from tests.helpers.loss_methods import MAKE, follow
from tests.helpers.methods import over

every_method = over(MAKE)


def test_the_scalar_losses_take_a_traced_preference():
    losses = jnp.array([0.3, 2.0, 1.0])
    rays = jnp.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]) / 3

    def values(ray):
        return jnp.stack(
            [
                tchebycheff_loss(losses, ray, jnp.zeros(3)),
                smooth_tchebycheff_loss(losses, ray, jnp.zeros(3), 0.1),
                pbi_loss(losses, ray, jnp.zeros(3), 5.0),
                cosmos_loss(losses, ray, 2.0),
            ]
        )

    found = np.asarray(jax.jit(jax.vmap(values))(rays), np.float64)
    ray = np.array([1.0, 2.0, 3.0]) / 6 * 2
    scaled = ray * losses
    along = losses @ ray / np.linalg.norm(ray)
    across = np.linalg.norm(losses - along * ray / np.linalg.norm(ray))
    cosine = along / np.linalg.norm(losses)
    expected = [
        scaled.max(),
        0.1 * np.log(np.exp(scaled / 0.1).sum()),
        along + 5 * across,
        scaled.sum() - 2 * cosine,
    ]
    assert_close(found[1], expected, rtol=1e-5)


@over(
    MAKE,
    slow=set(MAKE) - {"go4align", "ldc_log", "dwa_epoch", "imtl_l", "pbi"},
)
def test_one_task_descends_its_own_gradient(name):
    weights, _ = follow(MAKE[name](1), np.full((3, 1), 2.0))
    assert (weights > 0).all()


@every_method
def test_losses_of_any_size_keep_it_finite(name):
    losses = [
        [1.0, 2.0, 3.0],
        [0.0, 1.0, 1e15],
        [0.0, 0.0, 0.0],
        [1e-10, 2e-10, 1e-20],
        [1e15, 2e15, 1e15],
        [1.0, 2.0, 3.0],
    ]
    weights, state = follow(name, losses)
    assert np.isfinite(weights).all()
    assert (weights != 0).any(axis=1).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@every_method
def test_an_absent_task_and_an_empty_batch_leave_no_trace(name):
    """Whatever an absent task's loss reads, the others go on as without it."""
    losses = np.array([[1.0, 2.0, 3.0]] * 2 + [[1.0, 0.0, 2.0]] * 3 + [[1.0, 1.0, 1.0]])
    present = np.ones((6, 3), bool)
    present[2:5, 1] = False
    present[3] = False
    weights, state = follow(name, losses, present)
    junk = np.where(present, losses, 77.0)
    again, other = follow(name, junk, present)
    np.testing.assert_array_equal(weights, again)
    jax.tree.map(np.testing.assert_array_equal, state, other)
    assert (weights[~present] == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
