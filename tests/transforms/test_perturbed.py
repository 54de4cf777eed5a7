"""The balls of a perturbation: how far a task is moved, and which way."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.transforms.perturbed import (
    check_ball,
    make_ball,
    perturbations,
    task_norms,
)
from tests.helpers.quadratics import NAMES


def moved(params, grads, ball):
    return jax.jit(functools.partial(perturbations, ball=ball))(params, grads)


def test_the_golden_balls():
    params = {"shared": jnp.zeros(2), "tasks": mtopt.PerTask(jnp.zeros((1, 1)), ("a",))}
    grads = {
        "shared": jnp.array([[3.0, 4.0]]),
        "tasks": mtopt.PerTask(jnp.array([[12.0]]), ("a",)),
    }
    ball = make_ball(0.5, None, None, False, "vmap")
    joint = moved(params, grads, ball)
    np.testing.assert_allclose(joint["shared"], [[1.5 / 13, 2.0 / 13]], rtol=1e-6)
    np.testing.assert_allclose(joint["tasks"]["a"], [6.0 / 13], rtol=1e-6)
    ball = make_ball(None, 0.5, 0.25, False, "vmap")
    separate = moved(params, grads, ball)
    np.testing.assert_allclose(separate["shared"], [[0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(separate["tasks"]["a"], [0.25], rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_perturbation_is_as_long_as_its_ball_at_any_scale(adaptive):
    """Over all leaves; in adaptive mode in units of the parameters' own sizes."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    names = ("a", "b")
    shared = {"w": draw(3, 2).at[0, 0].set(0.0), "b": draw(2)}
    params = {"shared": shared, "tasks": mtopt.PerTask({"v": draw(2, 4)}, names)}
    rows = {"w": draw(2, 3, 2), "b": draw(2, 2)}
    grads = {"shared": rows, "tasks": mtopt.PerTask({"v": draw(2, 4)}, names)}

    @jax.jit
    def balls(grads):
        joint = make_ball((0.5, 2.0), None, None, adaptive, "vmap")
        separate = make_ball(None, (0.1, 0.2), (0.3, 0.4), adaptive, "vmap")
        return [perturbations(params, grads, ball) for ball in (joint, separate)]

    def lengths(moves):
        """Of the shared and of the own part of every task's move, ``[2, K]``."""

        def length(part):
            squares = 0.0
            for move, value in zip(
                jax.tree.leaves(moves[part]), jax.tree.leaves(params[part]), strict=True
            ):
                size = np.abs(value) if adaptive else np.ones(value.shape)
                unit = np.where(size > 0, size, 1)
                ratio = np.asarray(move) / (unit[None] if part == "shared" else unit)
                squares = squares + (ratio.reshape(2, -1) ** 2).sum(axis=1)
            return np.sqrt(squares)

        return np.stack([length("shared"), length("tasks")])

    for scale in (1e-20, 1.0, 1e15):
        scaled = jax.tree.map(lambda g, scale=scale: scale * g, grads)
        joint, separate = balls(scaled)
        both = np.linalg.norm(lengths(joint), axis=0)
        np.testing.assert_allclose(both, [0.5, 2.0], rtol=1e-5)
        expected = [[0.1, 0.2], [0.3, 0.4]]
        np.testing.assert_allclose(lengths(separate), expected, rtol=1e-5)
        for moves in (joint, separate):
            still = (np.asarray(moves["shared"]["w"][:, 0, 0]) == 0).all()
            assert still == adaptive


def test_the_default_radius_is_that_of_the_sam_paper():
    ball = make_ball(None, None, None, False, "vmap")
    assert ball.rho_shared == 0.05
    assert ball.rho_task is None
    assert not ball.is_point
    assert make_ball(None, 0, (0, 0), False, "vmap").is_point
    assert not make_ball(None, 0, (0, 1), False, "vmap").is_point


def test_lengths_of_own_parameters_come_in_the_order_of_the_names():
    groups = (
        mtopt.PerTask(jnp.array([[3.0, 4.0], [0.0, 1.0]]), ("b", "d")),
        mtopt.PerTask(jnp.array([[2.0]]), ("c",)),
    )
    np.testing.assert_allclose(task_norms(groups, 3), [5, 2, 1])
    np.testing.assert_allclose(task_norms(mtopt.PerTask((), NAMES), 3), [0, 0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": -0.1}, "rho is -0.1: expected a number of at least 0, or one per"),
        ({"rho": float("nan")}, "rho is nan: expected"),
        ({"rho": (0.1, -1.0, 0.1)}, "rho is .* expected a number of at least 0"),
        ({"rho": 0.1, "rho_shared": 0.1}, "expected rho alone"),
        ({"rho": 0.1, "rho_shared": 0.1, "rho_task": 0.1}, "expected rho alone"),
        ({"rho_shared": 0.1}, "rho_shared and rho_task"),
        ({"rho_task": 0.1}, "rho_shared and rho_task"),
        ({"rho_shared": -1, "rho_task": 1}, "rho_shared is -1"),
        ({"rho_shared": 1, "rho_task": -1}, "rho_task is -1"),
        ({"passes": "scan"}, "passes is 'scan': expected one of"),
    ],
)
def test_a_ball_out_of_range_is_an_error(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.per_task_sam(3, **options)
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.flat_regions(mtopt.mgda(3), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": (0.1, 0.2)}, r"rho is \[0.1, 0.2\]: expected 1 number, or 3: one per"),
        ({"rho_shared": (1, 1, 1, 1), "rho_task": 1}, "rho_shared is .* or 3: one per"),
        ({"rho_shared": 1, "rho_task": (1,)}, "rho_task is .* or 3: one per task"),
    ],
)
def test_radii_per_task_are_one_for_each(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.per_task_sam(3, **options)
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.flat_regions(mtopt.mgda(3), **options).init(jnp.zeros(2))
    check_ball(make_ball(0.1, None, None, False, "vmap"), 3)
