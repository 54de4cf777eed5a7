"""Saliencies of the tasks: the gradients of their losses in the representation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.wrappers.saliency import task_saliency
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.saliency import in_groups, random

KEY = jax.random.key(5)
saliency_of = jax.jit(task_saliency)


def regressions(x_axis, lead=()):
    """Three regressions on five samples, some without labels; ``lead`` are places."""

    def encode(shared, x, key):
        del key
        return jnp.tanh(x @ shared)

    def head_loss(head, z, y, mask, key):
        del key
        found = jnp.sin(z).reshape(len(z), -1) @ head.reshape(-1)
        return mtopt.masked_mean((found - y) ** 2, mask)

    tasks = mtopt.Tasks(("a", "b", "c"), encode, head_loss, x_axis)
    own = () if x_axis is None else (3,)
    params = {
        "shared": jnp.asarray(random(4, 6, seed=1)),
        "tasks": mtopt.PerTask(jnp.asarray(random(3, *lead, 6, seed=2)), tasks.names),
    }
    mask = random(3, 5, seed=3) > -0.2
    assert mask.any(axis=1).all()
    assert not mask.all()
    x = random(*own, 5, *lead, 4, seed=4)
    batch = mtopt.Batch(x, random(3, 5, seed=5), mask)
    return tasks, params, batch


@pytest.mark.parametrize(
    ("x_axis", "lead"),
    [
        pytest.param(None, (), id="shared-flat"),
        pytest.param(0, (2, 3), id="disjoint-spatial"),
        pytest.param(None, (2, 3), id="shared-spatial", marks=pytest.mark.slow),
        pytest.param(0, (), id="disjoint-flat", marks=pytest.mark.slow),
    ],
)
def test_saliency_is_the_gradient_of_the_loss_in_the_representation(x_axis, lead):
    """2 (z' w - y) w / n, with n the task's labels; nothing without a label."""
    with jax.enable_x64(True):
        tasks, params, batch = regressions(x_axis, lead)
        problem = tasks.problem(batch, KEY)
        found = saliency_of(problem, params)
        assert found.shape == (3, 5, *lead, 6)
        given = saliency_of(problem, params, problem.representation(params))
        np.testing.assert_array_equal(found, given)
        for k, mask in enumerate(batch.mask):
            x = batch.x if x_axis is None else problem.batch.x[k]
            z = np.tanh(x @ np.asarray(params["shared"]))
            head = np.asarray(params["tasks"].values[k])
            axes = tuple(range(1, z.ndim))
            error = (np.sin(z) * head).sum(axis=axes) - batch.y[k]
            slope = np.where(mask, 2 * error / mask.sum(), 0)
            slope = slope.reshape(-1, *(1,) * len(axes))
            np.testing.assert_allclose(
                found[k], slope * head * np.cos(z), rtol=1e-12, atol=1e-14
            )
            assert np.all(np.asarray(found)[k][~mask] == 0)


def test_saliency_is_the_jacobian_of_the_head_losses():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None, missing=0.3)
    problem = tasks.problem(batch, KEY)
    z = problem.representation(params)

    def losses(z):
        apply = jax.vmap(problems.classify, (0, None, 0, 0, None))
        own = problem.batch
        return apply(params["tasks"].values, z, own.y, own.mask, None)

    found = saliency_of(problem, params)
    expected = jax.jit(jax.jacrev(losses))(z)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_row_b_of_disjoint_inputs_is_sample_b_of_every_task():
    """The stated pairing: what a task finds in its own sample, side by side."""
    tasks, params, batch = regressions(0)
    found = saliency_of(tasks.problem(batch, KEY), params)
    alone = mtopt.Tasks(("alone",), tasks.encode, tasks.head_loss)
    for k in range(3):
        own = {
            "shared": params["shared"],
            "tasks": mtopt.PerTask(params["tasks"].values[k : k + 1], alone.names),
        }
        one = mtopt.Batch(batch.x[k], batch.y[k : k + 1], batch.mask[k : k + 1])
        expected = saliency_of(alone.problem(one, KEY), own)
        np.testing.assert_allclose(found[k], expected[0], rtol=1e-5, atol=1e-7)


def test_groups_on_one_representation_are_as_one():
    tasks, params, batch = regressions(None)
    groups, own, pieces = in_groups(tasks, params, batch)
    found = saliency_of(groups.problem(pieces, KEY), own)
    expected = saliency_of(tasks.problem(batch, KEY), params)
    assert_close(found, expected, rtol=1e-6)


def test_groups_without_a_common_representation_have_no_saliency():
    tasks, params, batch = regressions(None)
    groups, own, pieces = in_groups(tasks, params, batch)
    apart = mtopt.TaskGroups(groups.groups, shared_inputs=False)
    doubled = mtopt.Batch((pieces.x, pieces.x), pieces.y, pieces.mask)
    first, second = groups.groups

    def other_encode(shared, x, key):
        return tasks.encode(shared, x, key)

    encoded = mtopt.Tasks(second.names, other_encode, second.head_loss)
    unlike = mtopt.TaskGroups((first, encoded), shared_inputs=True)
    for problem in (apart.problem(doubled, KEY), unlike.problem(pieces, KEY)):
        with pytest.raises(mtopt.UserError, match="no representation in common"):
            jax.eval_shape(task_saliency, problem, own)


@pytest.mark.parametrize(
    "encode",
    [lambda shared, x, key: (x @ shared, x), lambda shared, x, key: (x @ shared)[:, 0]],
    ids=["two arrays", "a number a sample"],
)
def test_a_representation_of_another_form_has_no_saliency(encode):
    def head_loss(head, z, y, mask, key):
        del key
        return mtopt.masked_mean((head * jax.tree.leaves(z)[0].sum() - y) ** 2, mask)

    tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
    batch = mtopt.Batch(jnp.ones((3, 2)), jnp.ones((2, 3)), np.ones((2, 3), bool))
    params = {
        "shared": jnp.ones((2, 2)),
        "tasks": mtopt.PerTask(jnp.ones(2), tasks.names),
    }
    with pytest.raises(
        mtopt.UserError, match=r"expected a single array \[B, \.\.\., C"
    ):
        jax.eval_shape(task_saliency, tasks.problem(batch, KEY), params)
