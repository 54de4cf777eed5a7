"""Heads that convolve go one after another on a CPU, and give what each gives alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt import heads
from mtopt.passes import WRITTEN_OUT
from tests.helpers.close import assert_close

LAYOUT = ("NHWC", "HWIO", "NHWC")


def head_loss(head, z, y, mask, key):
    del key
    found = jax.lax.conv_general_dilated(
        z, head, (1, 1), "SAME", dimension_numbers=LAYOUT
    )
    return mtopt.masked_mean(jnp.tanh(found).mean(axis=(1, 2, 3)) * y, mask)


def setting(num_tasks, x_axis):
    """Kernels of 3 x 3 on images of the tasks' own or in common."""
    names = tuple(f"task_{k:02d}" for k in range(num_tasks))
    rng = np.random.default_rng(0)
    own = (num_tasks,) if x_axis == 0 else ()
    x = jnp.asarray(rng.normal(size=(*own, 5, 4, 6, 2)), jnp.float32)
    y = jnp.asarray(rng.normal(size=(num_tasks, 5)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(num_tasks, 3, 3, 2, 2)), jnp.float32)
    params = {"shared": jnp.ones(2), "tasks": mtopt.PerTask(kernels, names)}
    tasks = mtopt.Tasks(
        names,
        lambda shared, x, key: x * shared[None, None, None],
        head_loss,
        x_axis=x_axis,
    )
    batch = mtopt.Batch(x, y, jnp.ones((num_tasks, 5), bool))
    return tasks.problem(batch, jax.random.key(0)), params


@pytest.mark.parametrize("x_axis", [None, 0])
def test_each_head_is_as_it_is_alone(x_axis):
    problem, params = setting(3, x_axis)
    batch, kernels = problem.batch, params["tasks"].values
    found = jax.jit(problem.losses_and_grads)(params)

    def alone(shared, kernel, k):
        x = batch.x if x_axis is None else batch.x[k]
        return head_loss(
            kernel, x * shared[None, None, None], batch.y[k], batch.mask[k], None
        )

    for k in range(3):
        loss, grads = jax.value_and_grad(alone, (0, 1))(params["shared"], kernels[k], k)
        assert_close(found[0][k], loss, rtol=1e-6)
        assert_close(found[1]["shared"][k], grads[0], rtol=1e-5)
        assert_close(found[1]["tasks"].values[k], grads[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("num_tasks", "platform", "apart"),
    [(3, "cpu", True), (WRITTEN_OUT + 1, "cpu", False), (3, "gpu", False)],
)
def test_kernels_are_not_groups_of_one_convolution(
    num_tasks, platform, apart, monkeypatch
):
    monkeypatch.setattr(heads, "platform", lambda: platform)
    problem, params = setting(num_tasks, None)
    z = problem.representation(params)
    jaxpr = jax.make_jaxpr(problem.losses_and_head_grads)(params, z)
    grouped = f"feature_group_count={num_tasks}" in str(jaxpr)
    assert grouped != apart
