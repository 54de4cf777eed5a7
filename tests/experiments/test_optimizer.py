"""The optimizer of a configuration: any of optax by name, with any of its schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from experiments.common.config import Optimizer
from experiments.common.optimizer import OPTIMIZERS, SCHEDULES

PARAMS = {
    "shared": jnp.ones((4, 4)),
    "tasks": mtopt.PerTask(jnp.ones((2, 4, 1)), ("a", "b")),
}


def steps(optimizer, count=3, of=10):
    """The updates of the shared parameters under a constant gradient."""
    tx = optimizer.build(of)
    state, found = tx.init(PARAMS), []
    for _ in range(count):
        updates, state = tx.update(PARAMS, state, PARAMS, value=jnp.ones(()))
        found.append(updates)
    return found


def test_the_names_are_those_of_optax():
    assert {"adam", "adamw", "sgd", "lion", "lamb", "muon", "prodigy"} <= set(
        OPTIMIZERS
    )
    assert {"constant", "cosine_decay", "warmup_cosine_decay"} <= set(SCHEDULES)


# They ask for more than gradients, or give another kind of optimizer.
OTHERS = {
    "optimistic_adam",
    "sophia",
    "lbfgs",
    "momo",
    "momo_adam",
    "galore",
    "dpsgd",
    "noisy_sgd",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "adafactor" else pytest.mark.slow)
        for name in sorted(set(OPTIMIZERS) - OTHERS)
    ],
)
def test_every_optimizer_takes_a_step(name):
    (found,) = steps(Optimizer(name, 0.01), 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_options_stand_in_the_name():
    slow, fast = (steps(Optimizer(f"sgd(momentum={m})", 0.1), 2)[1] for m in (0.0, 0.9))
    assert fast["shared"][0, 0] == pytest.approx(1.9 * slow["shared"][0, 0])


def test_a_schedule_lasts_as_long_as_the_run():
    found = steps(Optimizer("sgd", 1.0, "cosine_decay"), 11)
    assert found[0]["shared"][0, 0] == -1
    assert found[10]["shared"][0, 0] == pytest.approx(0, abs=1e-6)
    warm = steps(Optimizer("sgd", 1.0, "warmup_cosine_decay(warmup_steps=2)"), 3)
    assert [float(u["shared"][0, 0]) for u in warm] == pytest.approx([0, -0.5, -1])


def test_heads_have_a_rate_of_their_own():
    (found,) = steps(Optimizer("sgd", 1.0, head_rate=0.1), 1)
    assert found["shared"][0, 0] == -1
    np.testing.assert_allclose(found["tasks"].values, -0.1)
    (frozen,) = steps(Optimizer("adamw(weight_decay=1.0)", 1.0, head_rate=0.0), 1)
    assert not frozen["tasks"].values.any()


def test_one_head_is_frozen_by_name():
    tx = mtopt.chain(optax.sgd(1.0), mtopt.scale_tasks({"b": 0.0}))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    assert updates["tasks"]["a"][0, 0] == -1
    assert not updates["tasks"]["b"].any()
    tx = mtopt.chain(optax.sgd(1.0), mtopt.scale_tasks({"bb": 0.0}))
    with pytest.raises(mtopt.UserError, match="a rate of task 'bb'"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    with pytest.raises(mtopt.UserError, match="the rate of task 'b' is -1"):
        mtopt.scale_tasks({"b": -1.0})


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (Optimizer("adm"), "no optimizer 'adm': did you mean"),
        (Optimizer("adam(decay=1)"), "'adam' has no option 'decay'"),
        (Optimizer(schedule="cosine"), "no schedule 'cosine'"),
        (Optimizer(schedule="warmup_cosine_decay"), "needs warmup_steps"),
        (Optimizer(schedule="cosine_decay(decay_steps=-1)"), "schedule cosine_decay"),
    ],
)
def test_what_optax_does_not_have_is_one_line(optimizer, message):
    with pytest.raises(mtopt.UserError, match=message):
        optimizer.build(10)


def test_an_average_is_kept_of_what_leaves_the_chain():
    tx = Optimizer("sgd", 1.0, head_rate=0.5, average=0.9).build(10)
    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    average = optax.tree.get(state, "averaged_params")
    np.testing.assert_allclose(average["shared"], 0, atol=1e-6)
    np.testing.assert_allclose(average["tasks"].values, 0.5, rtol=1e-6)
    assert optax.tree.get(Optimizer().build(10).init(PARAMS), "averaged_params") is None
