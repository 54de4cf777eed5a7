"""Rep-MTL in whole steps: chains, precisions, seeds, cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.methods.famo import logit_slope
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.compilations import compiled_once
from tests.helpers.rep_mtl import KEY, equal, saliency_penalties, setting


def train(tx, tasks, params, batch, count=1):
    state = mtopt.TrainState.create(params, tx, KEY)
    step = compiled_once(mtopt.make_train_step(tasks, tx))
    for _ in range(count):
        state, metrics = step(state, batch)
    return state, metrics


def test_famo_is_told_of_the_whole_step_with_its_penalty():
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        tx = mtopt.chain(
            saliency_penalties(mtopt.famo(3, gamma=0), csa=0), optax.sgd(0.5)
        )
        state, metrics = train(tx, tasks, params, batch)
        losses = jax.jit(lambda params: tasks.problem(batch, KEY).losses(params))
        fell = jnp.log(metrics["losses"]) - jnp.log(losses(state.params))
        slope = logit_slope(jnp.zeros(3), fell, jnp.ones(3, bool))
        moment = optax.tree.get(state.opt_state, "mu")  # of Adam: 0.1 of the slope
        assert_close(moment, 0.1 * slope, rtol=1e-6)


@pytest.mark.slow
def test_bfloat16_parameters_stay_bfloat16():
    tasks, params, batch = setting("shared", jnp.bfloat16)
    tx = mtopt.chain(mtopt.log_losses(mtopt.rep_mtl(equal())), optax.adam(1e-2))
    state, metrics = train(tx, tasks, params, batch, count=3)
    for leaf in jax.tree.leaves(state.params):
        assert leaf.dtype == jnp.bfloat16
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    assert np.isfinite(np.asarray(metrics["losses"], np.float32)).all()


def test_seeds_under_vmap_are_seeds_alone():
    tasks, params, batch = setting("shared", jnp.float32)
    tx = mtopt.chain(saliency_penalties(equal(), tsr=0), optax.sgd(0.1))
    step = mtopt.make_train_step(tasks, tx)

    def start(scale):
        moved = jax.tree.map(lambda leaf: leaf * jnp.float32(scale), params)
        return mtopt.TrainState.create(moved, tx, KEY)

    scales = (1.0, 0.5)
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(start, scales))
    many = compiled_once(jax.jit(jax.vmap(step, in_axes=(0, None))))
    for _ in range(2):
        stack, _ = many(stack, batch)
    for k, scale in enumerate(scales):
        alone = start(scale)
        for _ in range(2):
            alone, _ = step(alone, batch)
        one = jax.tree.map(lambda leaf, k=k: leaf[k], stack.params)
        assert_close(one, alone.params, rtol=1e-4)


METHODS = {
    "equal": mtopt.equal_weighting(4),
    "tsr": mtopt.rep_mtl(mtopt.equal_weighting(4), csa=0),
    "csa": mtopt.rep_mtl(mtopt.equal_weighting(4), tsr=0),
    "both": mtopt.rep_mtl(mtopt.equal_weighting(4)),
    "both, of logs": mtopt.log_losses(mtopt.rep_mtl(mtopt.equal_weighting(4))),
    "both, beside logs": mtopt.rep_mtl(mtopt.log_losses(mtopt.equal_weighting(4))),
}


DEEPER, WIDER = (256, 256), (512,)  # than (256,)


@functools.cache
def step_flops(name, hidden):
    tasks, params, batch = problems.classification(4, 64, 256, (*hidden, 16), 5, None)
    tx = mtopt.chain(METHODS[name], optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx)
    return step.lower(state, batch).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("name", "larger"),
    [
        ("both", DEEPER),
        pytest.param("both, of logs", DEEPER, marks=pytest.mark.slow),
        pytest.param("tsr", DEEPER, marks=pytest.mark.slow),
        pytest.param("csa", DEEPER, marks=pytest.mark.slow),
        pytest.param("both, beside logs", DEEPER, marks=pytest.mark.slow),
        pytest.param("both", WIDER, marks=pytest.mark.slow),
    ],
)
def test_the_encoder_costs_what_it_costs_under_equal_weighting(name, larger):
    """A larger encoder raises both costs alike: one forward and one backward pass."""
    more = step_flops("equal", larger) - step_flops("equal", (256,))
    found = step_flops(name, larger) - step_flops(name, (256,))
    assert more > 0.4 * step_flops("equal", larger)
    np.testing.assert_allclose(found, more, rtol=0.01)
