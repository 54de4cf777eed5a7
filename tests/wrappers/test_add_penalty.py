"""Penalties of one's own: their gradient, and penalties in penalties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.rep_mtl import (
    KEY,
    activity,
    difference,
    directions,
    encode,
    equal,
    one_number,
    setting,
)


def test_the_second_derivative_of_one_number():
    """By the chain rule -(log P_k + H) / A dS_k, with S_k = w_k (w_k z - y_k)."""
    with jax.enable_x64(True):
        tasks, params, batch = one_number()

        def regulated(problem, params, representation):
            found = mtopt.task_saliency(problem, params, representation)
            np.testing.assert_array_equal(found.shape, (2, 1, 1))
            return mtopt.task_saliency_regulation(found, smoothing=0)

        base = mtopt.equal_weighting(2)
        own, tsr, added, detached = directions(
            [
                base,
                mtopt.rep_mtl(base, tsr=1, csa=0, smoothing=0),
                mtopt.add_penalty(base, regulated, 1),
                mtopt.rep_mtl(base, tsr=1, csa=0, control="detached"),
            ],
            tasks,
            params,
            batch,
        )
        entropy = -0.8 * np.log(0.8) - 0.2 * np.log(0.2)
        slopes = -(np.log([0.8, 0.2]) + entropy) / 2.5
        for penalised in (tsr, added):
            found = difference(penalised, own)
            np.testing.assert_allclose(found["shared"], 0.3327106, atol=5e-8)
            assert_close(found["shared"], slopes.sum(), rtol=1e-13)
            of_heads = slopes * np.array([4.0, 2.5])
            assert_close(found["tasks"].values, of_heads, rtol=1e-13)
        assert_close(detached, own, rtol=1e-15)

        problem = tasks.problem(batch, KEY)
        saliency = jax.jit(mtopt.task_saliency)(problem, params)
        np.testing.assert_array_equal(saliency.reshape(-1), [2.0, 0.5])
        value = jax.jit(regulated)(problem, params, jnp.array([[2.0]]))
        np.testing.assert_allclose(value, 0.5004024, atol=5e-8)


def decay(problem, params, representation):
    del problem
    return jnp.sum(params["tasks"].values["w"] ** 2) * jnp.mean(representation)


@pytest.mark.parametrize("name", ["pulled back", "rows", "with logs in between"])
def test_penalties_in_penalties_add_up(name):
    aggregator = mtopt.imtl_g(3) if name == "rows" else equal()
    inside = mtopt.add_penalty(aggregator, activity, 2)
    if name == "with logs in between":
        aggregator, inside = mtopt.log_losses(aggregator), mtopt.log_losses(inside)
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        txs = (aggregator, mtopt.add_penalty(inside, decay, 0.5))
        base, found = directions(txs, tasks, params, batch)

        def penalties(params):
            z = encode(params["shared"], batch.x, None)
            return 2 * activity(None, params, z) + 0.5 * decay(None, params, z)

        expected = jax.jit(jax.grad(penalties))(params)
        assert_close(difference(found, base), expected, rtol=1e-9)


def test_a_negative_coefficient_is_an_error():
    with pytest.raises(mtopt.UserError, match="coefficient is -2"):
        mtopt.add_penalty(equal(), activity, -2)


def test_a_penalty_needs_the_problem_and_parameters():
    tasks, params, batch = setting("shared", jnp.float32)
    problem = tasks.problem(batch, KEY)
    tx = mtopt.rep_mtl(equal())
    grads = jax.eval_shape(problem.losses_and_grads, params)[1]
    state, known = tx.init(params), mtopt.Evaluation(problem=problem)
    with pytest.raises(mtopt.UserError, match="reads problem"):
        jax.eval_shape(tx.update, grads, state, params)
    update = functools.partial(tx.update, evaluation=known)
    with pytest.raises(mtopt.UserError, match="has a problem and no rows"):
        jax.eval_shape(update, grads, state, params)
