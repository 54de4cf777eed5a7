"""F-MTL where gradients vanish, tasks are absent, radii or numbers small."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.points import Point
from mtopt.transforms.perturbed import (
    gradients_at,
    make_ball,
    perturbed_point,
)
from mtopt.wrappers.flat_regions import VARIANTS
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.methods import assert_finite, over
from tests.helpers.quadratics import random_quadratics
from tests.helpers.updates import KEY, first_update_on, update_on

SCALE_FREE = {
    "nash_mtl": mtopt.nash_mtl(3),
    "imtl_g": mtopt.imtl_g(3),
    "mgda": mtopt.mgda(3, normalize="l2", apply_to="normalized"),
}


RADII = (1e-30, 1e-9, 1e-2)


@functools.cache
def with_tiny_radii(name):
    """A step on an MLP in float32, whose second pass differs by rounding."""
    tasks, params, batch = problems.classification(3, 16, 12, (33, 17), 4, None)
    problem = tasks.problem(batch, KEY)

    @jax.jit
    def directions(params):
        def perturbed(rho):
            tx = mtopt.flat_regions(SCALE_FREE[name], rho=rho)
            direction, state = update_on(tx, tx.init(params), problem, params)
            return direction["shared"], state.memory.flat_weights

        clean, _ = perturbed(0.0)
        _, grads = problem.losses_and_grads(params)
        sam, _ = update_on(mtopt.per_task_sam(3, rho=1e-9), (), problem, params)
        noise = jax.tree.map(jnp.subtract, sam["shared"], grads["shared"])
        return clean, noise, jax.lax.map(perturbed, jnp.array(RADII))

    return jax.tree.map(np.asarray, directions(params))


@over(SCALE_FREE, slow=["mgda"])
def test_a_tiny_radius_does_not_magnify_rounding_noise(name):
    clean, noise, (directions, flat_weights) = with_tiny_radii(name)
    assert any(leaf.any() for leaf in jax.tree.leaves(noise))
    for tiny in (0, 1):
        direction = jax.tree.map(lambda leaf, i=tiny: leaf[i], directions)
        assert_close(direction, clean, rtol=1e-4)
    direction = jax.tree.map(lambda leaf: leaf[2], directions)
    assert_finite(direction)
    assert flat_weights[2].all()
    gap = jax.tree.map(np.subtract, direction, clean)
    assert optax.tree.norm(gap) > 1e-3 * optax.tree.norm(clean)


@functools.cache
def with_two_tasks_of_three():
    """All variants: the third absent, the third at rest, all at rest, two tasks."""
    tasks = random_quadratics(seed=5)
    still = np.array([1.0, 1.0, 0.0])
    at_rest = dataclasses.replace(
        tasks,
        curve=tasks.curve * still[:, None, None],
        line=tasks.line * still[:, None],
    )
    nothing = dataclasses.replace(tasks, curve=0 * tasks.curve, line=0 * tasks.line)
    cases = ("absent", "at rest", "all at rest")
    with jax.enable_x64(True):
        two, few = tasks.only([0, 1]).problem()
        three, params = zip(
            tasks.problem(present=[True, True, False]),
            at_rest.problem(),
            nothing.problem(),
            strict=True,
        )

        def directions(problem, params):
            found = {}
            for variant in VARIANTS:
                own = mtopt.pcgrad(len(problem.names), order="fixed")
                tx = mtopt.flat_regions(own, rho=0.3, variant=variant)
                found[variant] = update_on(tx, tx.init(params), problem, params)
            return found

        @jax.jit
        def of_all(stack):
            each = jax.lax.map(lambda problem: directions(problem, params[0]), stack)
            return each, directions(two, few)

        stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *three)
        each, alone = jax.tree.map(np.asarray, of_all(stack))
    found = {"two": alone}
    for i, case in enumerate(cases):
        found[case] = jax.tree.map(lambda leaf, i=i: leaf[i], each)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", ["absent", "at rest"])
def test_a_task_without_a_gradient_leaves_the_others_theirs(case, variant):
    """For PCGrad, a sum that projects, two of three tasks are as if alone."""
    found = with_two_tasks_of_three()
    direction, state = found[case][variant]
    expected, two = found["two"][variant]
    assert_close(direction["shared"], expected["shared"], rtol=1e-7)
    own = direction["tasks"].values
    assert_close(own[:2], expected["tasks"].values, rtol=1e-7)
    assert not own[2].any()
    np.testing.assert_allclose(
        state.memory.flat_weights[:2], two.memory.flat_weights, rtol=1e-6
    )
    if case == "absent":
        assert state.memory.flat_weights[2] == 0
    assert_finite(state)


@pytest.mark.parametrize("rho", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_rows_from_a_transformation_are_what_it_aggregates(rho):
    """MoDo, which pulls gradients back, does not do so in place of doubled rows."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    problem = tasks.problem(batch, KEY)
    tx = mtopt.flat_regions(mtopt.modo(3, gamma=0.0), rho=rho)

    @jax.jit
    def both(params):
        seen = problem.evaluate(params)
        doubled = seen.scaled(jnp.full(3, 2.0))
        found, _ = tx.update(
            doubled.gradients, tx.init(params), params, evaluation=doubled
        )
        if rho > 0:
            ball = make_ball(rho, None, None, False, "vmap")
            there = perturbed_point(Point(params), seen.gradients, ball)
            seen = gradients_at(seen.problem, there, seen)
        # Without a step (gamma 0) MoDo's weights stay uniform: the mean of both parts.
        mean = jax.tree.map(lambda row: 2 * row.mean(axis=0), seen.rows)
        return found["shared"], mean

    assert_close(*both(params), rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_tasks_at_rest_give_no_direction(variant):
    direction, state = with_two_tasks_of_three()["all at rest"][variant]
    assert not any(leaf.any() for leaf in jax.tree.leaves(direction))
    assert_finite(state)


def test_parameters_in_bfloat16_stay_so():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    batch = mtopt.Batch(batch.x.astype(jnp.bfloat16), batch.y, batch.mask)
    problem = tasks.problem(batch, KEY)
    tx = mtopt.flat_regions(mtopt.imtl_g(3), rho=1.0, adaptive=True)
    direction, state = first_update_on(tx, problem, params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(direction)} == {"bfloat16"}
    assert state.memory.flat_weights.dtype == np.float32
    assert_finite((direction, state))
    assert state.memory.flat_weights.sum() == pytest.approx(1, abs=1e-5)


def test_rows_of_a_task_that_its_user_hides_are_zero_in_both_parts():
    """Whoever reads the rows of absent tasks finds zeros, as the contract says."""

    def total(memory, evaluation):
        rows = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf.sum(0), leaf.shape), evaluation.rows
        )
        return jnp.ones(3), rows, memory

    problem, params = random_quadratics(seed=5).problem()
    tx = mtopt.flat_regions(mtopt.row_weighting(3, total, heads="plain"), rho=0.1)
    present = np.array([True, True, False])

    @jax.jit
    def both(params):
        hidden = problem.evaluate(params).replace(present=jnp.asarray(present))
        absent = problem.without(jnp.asarray(~present)).evaluate(params)
        return [
            tx.update(each.gradients, tx.init(params), params, evaluation=each)[0]
            for each in (hidden, absent)
        ]

    hidden, absent = both(params)
    assert_close(hidden["shared"], absent["shared"], rtol=1e-6)
