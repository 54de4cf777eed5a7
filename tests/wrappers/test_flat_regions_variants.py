"""The variants of F-MTL, and when two of them are one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.wrappers.flat_regions import VARIANTS
from tests.helpers.close import assert_close
from tests.helpers.methods import FEW, make, over
from tests.helpers.quadratics import random_quadratics
from tests.helpers.updates import KEY, first_update_on, update_on


def program(tx, problem, params):
    """What an update computes, operation by operation."""
    start = tx.init(params)
    wrapped = hasattr(start.memory, "flat_weights")

    def directions(grads, losses, params, memory):
        seen = mtopt.Evaluation(
            losses=losses,
            rows=grads["shared"],
            heads=grads["tasks"],
            present=problem.present,
            params=params,
            problem=problem,
            key=KEY,
            after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
        )
        own = start.memory._replace(inner=memory) if wrapped else memory
        updates, _ = tx.update(
            grads, start._replace(memory=own), params, evaluation=seen
        )
        return updates

    losses, grads = jax.eval_shape(problem.losses_and_grads, params)
    memory = start.memory.inner if wrapped else start.memory
    traced = jax.make_jaxpr(directions)(grads, losses, params, memory)
    return re.sub(r" at 0x[0-9a-f]+", "", str(traced))


@over(mtopt.METHODS, slow=set(mtopt.METHODS) - FEW - {"mgda"})
def test_without_a_radius_it_is_the_aggregator(name):
    """Exactly: both are the same operations in the same order."""
    problem, params = random_quadratics().problem()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    same = functools.partial(program, problem=problem, params=params)
    point = {"rho_shared": 0.0, "rho_task": (0, 0, 0)}
    txs = [mtopt.flat_regions(make(name, 3), **point)]
    if name == "mgda":
        txs += [mtopt.flat_regions(make(name, 3), rho=0, variant=v) for v in VARIANTS]
        own = mtopt.flat_regions(make(name, 3), rho=0, heads="aggregator")
        assert same(own) == same(make(name, 3))
    expected = same(make(name, 3, heads="plain"))
    assert all(same(tx) == expected for tx in txs)


# What they make of the gradients does not depend on the gradients.
LINEAR = (
    *("equal_weighting", "fixed_weighting", "single_task"),
    *("cosmos_scalarization", "dynamic_weight_average", "famo", "geometric_loss"),
    *("go4align", "improvable_gap_balancing", "imtl_l", "ldc", "pbi"),
    *("scale_invariant", "smooth_tchebycheff", "smooth_tchebycheff_warmup"),
    *("tchebycheff", "uncertainty_weighting"),
)


def linear_runs(name):
    """Three steps, split and direct, in one program."""
    with jax.enable_x64(True):
        problem, params = random_quadratics(seed=4).problem()

        def run(variant):
            aggregator = mtopt.flat_regions(make(name, 3), rho=0.3, variant=variant)
            tx = mtopt.chain(aggregator, optax.sgd(0.05))

            def step(carry, _):
                params, state = carry
                updates, state = update_on(tx, state, problem, params, after=_itself)
                return (optax.apply_updates(params, updates), state), ()

            start = (params, tx.init(params))
            (end, state), _ = jax.lax.scan(step, start, length=3)
            return end, optax.tree.get(state, "weights")

        runs = jax.jit(lambda: (run("split"), run("direct")))
        return jax.tree.map(np.asarray, (runs(), params))


def _itself(updates):
    return updates


@over(LINEAR, slow=set(LINEAR) - {"dynamic_weight_average", "famo"})
def test_split_is_direct_where_the_weights_do_not_read_the_gradients(name):
    """Whatever they remember: both parts are told of the same losses and steps."""
    ((split, weights), (direct, expected)), start = linear_runs(name)
    np.testing.assert_allclose(weights, expected, rtol=1e-9)
    assert_close(split, direct, rtol=1e-9)
    assert np.abs(split["shared"] - start["shared"]).max() > 1e-4


@over(["mgda", "imtl_g", "pcgrad"], slow=["mgda", "pcgrad"])
def test_two_vectors_are_aggregated_as_two_tasks(name):
    options = {"order": "fixed"} if name == "pcgrad" else {}
    tasks = random_quadratics(seed=1)
    with jax.enable_x64(True):
        problem, params = tasks.problem()

        def aggregate(rows):
            tx = mtopt.METHODS[name](len(rows), **options)
            direction, state = tx.update(rows, tx.init(rows[0]))
            return direction, state.weights

        @jax.jit
        def both(params):
            own = mtopt.METHODS[name](3, **options)
            found = {}
            for variant in ("second_aggregate", "each_aggregate"):
                tx = mtopt.flat_regions(own, rho=0.3, variant=variant)
                found[variant] = update_on(tx, tx.init(params), problem, params)
            rows = problem.losses_and_grads(params)[1]["shared"]
            sam = update_on(mtopt.per_task_sam(3, rho=0.3), (), problem, params)[0]
            flat = sam["shared"] - rows
            (loss, loss_weights), (flat_sum, flat_weights) = map(
                aggregate, (rows, flat)
            )
            second, _ = aggregate(jnp.stack([loss, flat_sum]))
            pairs = [aggregate(jnp.stack([rows[k], flat[k]])) for k in range(3)]
            each, each_weights = aggregate(jnp.stack([pair[0] for pair in pairs]))
            of_flat = jnp.stack([pair[1][1] for pair in pairs])
            return (
                found,
                sam["tasks"],
                {
                    "second_aggregate": (second, loss_weights, flat_weights),
                    "each_aggregate": (each, each_weights, of_flat),
                },
            )

        found, heads, expected = both(params)
    for variant, (shared, weights, flat_weights) in expected.items():
        direction, state = found[variant]
        close = functools.partial(assert_close, rtol=1e-6)
        close(direction["shared"], shared)
        close(optax.tree.get(state, "weights"), weights)
        close(state.memory.flat_weights, flat_weights)
        close(direction["tasks"].values, heads.values)


@pytest.mark.parametrize("variant", ["second_aggregate", "each_aggregate"])
def test_two_vectors_have_no_losses(variant):
    problem, params = random_quadratics().problem()
    tx = mtopt.flat_regions(mtopt.scale_invariant(3), variant=variant)
    with pytest.raises(mtopt.UserError, match="reads losses"):
        jax.eval_shape(lambda p: update_on(tx, tx.init(p), problem, p), params)


@pytest.mark.parametrize("variant", ["second_aggregate", "each_aggregate"])
def test_two_vectors_need_two_tasks(variant):
    with pytest.raises(mtopt.UserError, match="expected two tasks at least"):
        mtopt.flat_regions(mtopt.mgda(1), variant=variant)


@pytest.mark.parametrize(
    "rho", [(0.5, 0.0, 1.0), pytest.param(0.5, marks=pytest.mark.slow)]
)
def test_split_is_direct_for_a_mean_whatever_the_radii(rho):
    """A task that is not perturbed counts in the mean of the flat parts too."""
    tasks = random_quadratics()
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        mean = mtopt.equal_weighting(3)
        split, direct = (
            first_update_on(
                mtopt.flat_regions(mean, rho=rho, variant=variant), problem, params
            )[0]
            for variant in ("split", "direct")
        )
        assert_close(split["shared"], direct["shared"], rtol=1e-12)
