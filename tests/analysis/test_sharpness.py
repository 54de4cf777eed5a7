"""Flatness: the rise of the losses in a ball, and planes through the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt import analysis
from mtopt.errors import UserError
from tests.helpers.problems import classification

# Compiled: as they are used, and ten times faster to test.
random_direction = jax.jit(analysis.filter_normalized_direction)
sharpness = jax.jit(
    analysis.sharpness, static_argnames=("rho", "adaptive", "steps", "passes")
)


def quadratic():
    """The two tasks of a plane of which every sharpness is known."""
    curvature = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    slope = jnp.array([[0.0, 0.0], [-5.0, -5.0]])

    def head_loss(head, theta, y, mask, key):
        return mtopt.masked_mean(
            0.5 * (curvature[y] * theta**2).sum(-1) + (slope[y] * theta).sum(-1), mask
        )

    def encode(shared, x, key):
        return x[:, None] * shared[None]

    tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
    batch = mtopt.Batch.shared(
        jnp.ones(1), {"a": np.zeros(1, int), "b": np.ones(1, int)}
    )
    params = {
        "shared": jnp.array([1.0, 4.0]),
        "tasks": mtopt.PerTask({}, tasks.names),
    }
    return tasks.problem(batch, jax.random.key(0)), params


def test_first_order_sharpness_of_a_quadratic_is_as_by_hand():
    with jax.enable_x64(True):
        problem, params = quadratic()
        # Gradients (3, 4) and (-4, 3): rise rho |g| + rho^2 g'Ag / (2 |g|^2).
        rise = sharpness(problem, params, rho=0.5)
        np.testing.assert_allclose(rise, [2.715, 2.67], rtol=1e-12)
        np.testing.assert_array_equal(sharpness(problem, params, rho=0.0, steps=3), 0)
        own = sharpness(problem, params, rho=(0.5, 0.0))
        np.testing.assert_allclose(own, [2.715, 0], atol=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_more_steps_climb_to_the_maximum_in_the_ball(adaptive):
    with jax.enable_x64(True):
        problem, params = quadratic()
        rho = 2.0
        angle = np.linspace(0, 2 * np.pi, 100001)
        circle = rho * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        if adaptive:
            circle = circle * np.abs(params["shared"])[None]
        circle = np.vstack([circle, np.zeros(2)])
        losses = jax.jit(
            jax.vmap(
                lambda e: problem.losses({**params, "shared": params["shared"] + e})
            )
        )(circle)
        exact = np.max(losses[:-1], axis=0) - losses[-1]
        rises = [
            np.asarray(
                sharpness(problem, params, rho=rho, adaptive=adaptive, steps=steps)
            )
            for steps in (1, 3, 40)
        ]
        assert (np.diff(rises, axis=0) >= -1e-12).all()
        assert (rises[-1] <= exact + 1e-6).all()
        np.testing.assert_allclose(rises[-1], exact, rtol=1e-4)


@pytest.mark.parametrize("x_axis", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_sharpness_is_the_same_however_the_passes_run(x_axis):
    tasks, params, batch = classification(3, 8, 5, (6,), 4, x_axis)
    problem = tasks.problem(batch, jax.random.key(0))
    expected = sharpness(problem, params, rho=0.3, steps=3)
    for passes in ("unroll", "map"):
        found = sharpness(problem, params, rho=0.3, steps=3, passes=passes)
        np.testing.assert_allclose(found, expected, rtol=2e-5, err_msg=passes)
    assert (expected > 0).all()


def test_adaptive_sharpness_does_not_see_a_rescaled_layer():
    """Twice a relu layer, half the next one: the same function."""
    tasks, params, batch = classification(2, 8, 5, (6,), 4, None)
    problem = tasks.problem(batch, jax.random.key(0))
    params["shared"][0]["b"] = jnp.asarray(np.full(6, 0.1, np.float32))
    first = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), params["shared"])
    heads = jax.tree.map(np.asarray, params["tasks"].values)
    heads = {"w": heads["w"] / 2, "b": heads["b"]}
    rescaled = {"shared": first, "tasks": mtopt.PerTask(heads, tasks.names)}

    def rises(adaptive):
        return [
            sharpness(problem, p, rho=0.1, adaptive=adaptive, steps=2)
            for p in (params, rescaled)
        ]

    np.testing.assert_allclose(*rises(True), rtol=1e-5)
    plain = rises(False)
    assert not np.allclose(plain[0], plain[1], rtol=0.05)


@pytest.mark.parametrize("option", [{"rho": -1.0}, {"steps": 0}, {"rho": (1, 2, 3)}])
def test_sharpness_options_are_checked(option):
    problem, params = quadratic()
    with pytest.raises(UserError, match="expected"):
        sharpness(problem, params, **option)


def test_directions_have_the_length_of_every_filter():
    _, params, _ = classification(3, 8, 5, (6,), 4, None)
    kernel = np.random.default_rng(3).normal(size=(3, 3, 2, 7)).astype(np.float32)
    kernel[..., 2] = 0
    params["shared"].append({"w": jnp.asarray(kernel), "b": jnp.ones(7)})
    direction = jax.tree.map(np.asarray, random_direction(jax.random.key(1), params))
    assert jax.tree.structure(direction) == jax.tree.structure(params)

    def lengths(tree, axis):
        return jax.tree.map(lambda leaf: np.sqrt((leaf**2).sum(axis)), tree)

    moved, there = direction["shared"][-1]["w"], kernel
    np.testing.assert_allclose(
        lengths(moved, (0, 1, 2)), lengths(there, (0, 1, 2)), rtol=1e-5
    )
    heads = direction["tasks"].values
    np.testing.assert_allclose(
        lengths(heads["w"], 1),
        lengths(np.asarray(params["tasks"].values["w"]), 1),
        rtol=1e-5,
    )
    assert not heads["b"].any()
    assert not direction["shared"][-1]["b"].any()
    assert np.abs(heads["w"][0] - heads["w"][1]).max() > 0.01
    other = random_direction(jax.random.key(2), params)
    assert np.abs(other["shared"][0]["w"] - direction["shared"][0]["w"]).max()


def test_a_plane_has_the_losses_at_its_points():
    tasks, params, batch = classification(3, 8, 5, (6,), 4, 0)
    problem = tasks.problem(batch, jax.random.key(0))
    directions = tuple(
        random_direction(key, params) for key in jax.random.split(jax.random.key(1))
    )
    alphas, betas = jnp.array([-1.0, 0.0, 0.5]), jnp.array([0.0, 2.0])
    values = jax.jit(
        lambda p: analysis.plane(problem.losses, p, directions, alphas, betas)
    )(params)
    assert values.shape == (3, 2, 3)
    values, losses = np.asarray(values), jax.jit(problem.losses)
    np.testing.assert_allclose(values[1, 0], losses(params), rtol=1e-6)
    far = jax.tree.map(
        lambda p, a, b: np.asarray(p) + 0.5 * np.asarray(a) + 2 * np.asarray(b),
        params,
        *directions,
    )
    np.testing.assert_allclose(values[2, 1], losses(far), rtol=1e-5)
