"""GO4Align: its groups by trying all, and its risks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.go4align import go4align, group_means
from tests.helpers.loss_methods import follow


def best_means(values, num_groups):
    """The means of the best of all assignments to groups, by trying every one."""
    best = None
    for labels in itertools.product(range(num_groups), repeat=len(values)):
        labels = np.array(labels)
        means = np.array([values[labels == label].mean() for label in labels])
        cost = ((values - means) ** 2).sum()
        if best is None or cost < best[0]:
            best = cost, means
    return best[1]


@pytest.mark.parametrize("num_groups", [1, 2, 3])
def test_groups_are_the_best_of_all(num_groups):
    rng = np.random.default_rng(4)
    batch = rng.lognormal(sigma=1.5, size=(8, 6))
    present = np.ones((8, 6), bool)
    present[4:, 1] = False
    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(lambda v, p: group_means(v, p, num_groups)))(
            jnp.asarray(batch), jnp.asarray(present)
        )
    for values, here, means in zip(batch, present, np.asarray(found), strict=True):
        expected = best_means(values[here], num_groups)
        np.testing.assert_allclose(means[here], expected, rtol=1e-9)


def test_go4align_updates_its_risks_and_absent_tasks_keep_theirs():
    rng = np.random.default_rng(5)
    losses = rng.uniform(0.5, 3, (6, 3))
    present = np.ones((6, 3), bool)
    present[2:5, 1] = False
    with jax.enable_x64(True):
        weights, state = follow(go4align(3, step_size=0.1), losses, present)
        ungrouped, _ = follow(go4align(3, step_size=0.1, num_groups=7), losses, present)
    p = np.full(3, 1 / 3)
    for t in range(6):
        here = present[t]
        moved = p[here] * np.exp(-0.1 * losses[t, here])
        within = moved / moved.sum()
        p[here] = within * p[here].sum()
        risks = losses[t, here].sum() / losses[t, here] * within
        np.testing.assert_allclose(weights[t, here], best_means(risks, 2), rtol=1e-6)
        np.testing.assert_allclose(ungrouped[t, here], risks, rtol=1e-6)
    np.testing.assert_allclose(np.exp(state.memory), p, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: go4align(2, num_groups=0), "num_groups is 0"),
        (lambda: go4align(2, step_size=-1), "step_size is -1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
